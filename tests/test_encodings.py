"""Texts in every encoding are read right or refused by name, never read wrong."""

import codecs
import csv
import gzip
import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.rows import written
from workbench import encodings
from workbench.data.preferences import load_data
from workbench.errors import DatasetError
from workbench.files import read_rows, rows_or_errors

CHINESE = (
    "患者描述：我最近总是头痛，晚上睡不好，已经有两个星期了。医生，请问这种情况需要去医院做什么"
    "检查吗？平时应该注意一些什么？"
)
JAPANESE = (
    "先生、こんにちは。最近ずっと頭が痛くて、夜もよく眠れません。東京都の病院を紹介してください。"
)
KOREAN = "안녕하세요 선생님, 최근에 머리가 계속 아프고 잠을 잘 못 잡니다. 병원을 알려 주세요."
RUSSIAN = "Здравствуйте, доктор. У меня уже две недели болит голова. Какие анализы мне нужно сдать?"
FRENCH = (
    "La société a été fondée à Genève. Où êtes-vous allé ? C’était très agréable, l’été dernier."
)
TEXTS = {
    "gb18030": CHINESE,
    "gbk": CHINESE,
    "big5": "醫生您好，我最近總是頭痛，已經有兩個星期了。請問這種情況需要去醫院做什麼檢查嗎？",
    "shift_jis": JAPANESE,
    "cp932": JAPANESE,
    "euc-jp": JAPANESE,
    "iso2022_jp": JAPANESE,
    "euc-kr": KOREAN,
    "johab": KOREAN,
    "iso2022_kr": KOREAN,
    "cp1252": FRENCH,
    "mac-roman": FRENCH,
    "latin-1": "Größere Änderungen müssen zunächst geprüft werden. Wo führt die Straße hin?",
    "cp1251": RUSSIAN,
    "koi8-r": RUSSIAN,
    "cp866": RUSSIAN,
    "iso8859-5": RUSSIAN,
    "cp1253": "Καλησπέρα γιατρέ. Εδώ και δύο εβδομάδες πονάει το κεφάλι μου. Τι εξετάσεις να κάνω;",
    "cp1255": "שלום דוקטור. כבר שבועיים כואב לי הראש ואני לא ישן טוב בלילה. אילו בדיקות עלי לעשות?",
    "cp1256": "مرحبا دكتور. منذ أسبوعين وأنا أعاني من صداع ولا أنام جيدا. ما هي الفحوصات المطلوبة؟",
    "cp874": "สวัสดีครับคุณหมอ ผมปวดหัวมาสองสัปดาห์แล้วและนอนไม่ค่อยหลับ ผมควรตรวจอะไรบ้างครับ",
    "iso-8859-2": "Dzień dobry. Od dwóch tygodni boli mnie głowa i źle śpię. Jakie badania zrobić?",
    "utf-16-le": FRENCH,
    "utf-16-be": JAPANESE + "\n",
}
TABLES = {
    "gb18030": [("姓名", "科室"), ("张伟", "内科"), ("王芳", "外科"), ("李娜", "儿科")],
    "big5": [("姓名", "科室"), ("張偉", "內科"), ("王芳", "外科"), ("李娜", "兒科")],
    "shift_jis": [("氏名", "都道府県"), ("佐藤", "東京都"), ("鈴木", "大阪府"), ("高橋", "北海道")],
    "euc-jp": [("氏名", "都道府県"), ("佐藤", "東京都"), ("鈴木", "大阪府"), ("高橋", "北海道")],
    "euc-kr": [("이름", "도시"), ("김민수", "서울"), ("이영희", "부산"), ("박지훈", "인천")],
    "cp1252": [("nom", "ville"), ("Émile", "Nîmes"), ("Zoë", "Orléans"), ("Agnès", "Angoulême")],
    "mac-roman": [("nom", "ville"), ("Émile", "Nîmes"), ("Zoë", "Orléans")],
    "cp1251": [("имя", "город"), ("Анна", "Москва"), ("Иван", "Казань")],
    "koi8-r": [("имя", "город"), ("Анна", "Москва"), ("Иван", "Казань")],
    "cp1253": [("όνομα", "πόλη"), ("Άννα", "Αθήνα"), ("Νίκος", "Πάτρα")],
    "cp1255": [("שם", "עיר"), ("דנה", "חיפה")],
    "cp1256": [("اسم", "مدينة"), ("سارة", "دمشق")],
    "cp874": [("ชื่อ", "เมือง"), ("สมชาย", "เชียงใหม่")],
    "iso-8859-2": [("imię", "miasto"), ("Żaneta", "Łódź"), ("Paweł", "Kraków")],
}
FILES = {
    **{f"text in {name}": (name, [("ask", "n"), (text, "1")]) for name, text in TEXTS.items()},
    **{f"half of it in {n}": (n, [("ask", "n"), (t[:20], "1")]) for n, t in TEXTS.items()},
    **{f"many in {n}": (n, [("ask", "n"), *[(t, "1")] * 99]) for n, t in TEXTS.items()},
    **{f"table in {name}": (name, lines) for name, lines in TABLES.items()},
    **{f"long table in {n}": (n, [lines[0], *lines[1:] * 99]) for n, lines in TABLES.items()},
}


def as_csv(lines, end="\r\n"):
    text = io.StringIO()
    csv.writer(text, lineterminator=end).writerows(lines)
    return text.getvalue()


@pytest.mark.parametrize(("name", "lines"), FILES.values(), ids=FILES)
def test_a_text_is_read_right_or_refused_by_name(tmp_path, name, lines, caplog):
    header, *values = lines
    rows = [dict(zip(header, line, strict=True)) for line in values]
    path = written(tmp_path, as_csv(lines).encode(name), "a.csv")
    if name in ("gb18030", "gbk") and CHINESE in str(values):
        assert read_rows(path) == rows
        assert f"{path} is no UTF-8 text; read as GB18030" in caplog.text
        return
    with pytest.raises(DatasetError, match=r"a\.csv:\d+: .*no text in utf-8[,;].*iconv -f"):
        read_rows(path)
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    with pytest.raises(DatasetError, match=r"set\.json:\d+: .*no text in utf-8[,;].*iconv -f"):
        read_rows(written(tmp_path, lines.encode(name)))


@pytest.mark.parametrize("name", ["gb18030", "utf-8", "utf-8-sig", "utf-16", "utf-32"])
@settings(max_examples=30)
@given(lines=st.lists(st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"]))))
def test_what_is_written_in_an_encoding_is_read_in_it(tmp_path_factory, name, lines):
    rows = [{"a": CHINESE}, *({"a": line.lstrip("\ufeff")} for line in lines)]
    content = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    if name == "gb18030":  # however little of it is Chinese
        content = f"\ufeff{content}"
    path = tmp_path_factory.mktemp("encoded") / "a.jsonl"
    path.write_bytes(content.encode(name))
    assert read_rows(path) == rows


def test_gb18030_as_the_files_of_a_hospital_are_published(tmp_path, caplog):
    lines = [("department", "title", "ask", "answer"), ("内科", "头痛", CHINESE, "可以\n做检查。")]
    content = as_csv(lines).encode("gb18030")
    path = written(tmp_path, gzip.compress(content), "a.csv.gz")
    assert read_rows(path) == [dict(zip(*lines, strict=True))]
    # Its mark says so, however short the text.
    marked = written(tmp_path, "\ufeffa\n科\n".encode("gb18030"), "b.csv")
    caplog.clear()
    assert read_rows(marked) == [{"a": "科"}]
    assert not caplog.text


def test_a_broken_byte_is_named_by_its_line(tmp_path):
    good = CHINESE.encode("gb18030")
    for broken, byte in ((good + b"\xff,2", "0xff"), (good[:-1] + b",2", "0xa3")):
        lines = [b"ask,answer", good + b",1", b'"' + good, good + b'",2', broken, good + b",4"]
        path = written(tmp_path, b"\n".join(lines), "a.csv")
        with pytest.raises(DatasetError, match=rf"a\.csv:5: no text in gb18030: .*{byte} in"):
            rows_or_errors(path)
    rows = [json.dumps({"a": CHINESE}, ensure_ascii=False).encode()] * 3
    rows[1] = rows[1].replace("头".encode(), "头".encode()[:-1])
    for name, end, line in (("a.jsonl", b"\r\n\r\n", 3), ("a.json", b",\n", 2), ("a", b"\r", 2)):
        path = written(tmp_path, end.join(rows), name)
        with pytest.raises(DatasetError, match=rf"{name}:{line}: no text in utf-8, nor"):
            read_rows(path)


@pytest.mark.parametrize(
    "other",
    [
        CHINESE,
        "头痛",
        "患者",
        "don’t",
        "a café",
        "科,café",
        "“quoted”",
        '头痛,"内科"',
        "x\t患者\ty",
    ],
)
@pytest.mark.parametrize("times", [1, 100])
def test_a_file_joined_of_two_encodings_is_refused(tmp_path, other, times):
    lines = [b"ask,answer", *[CHINESE.encode("gb18030") + b",1"] * times]
    path = tmp_path / "a.csv"
    path.write_bytes(b"\n".join([*lines, b"x," + other.encode(), *lines[1:]]))
    with pytest.raises(DatasetError, match=r"a\.csv:2: no text in utf-8, nor is it Chinese in GB"):
        read_rows(path)
    # Beside one another on each line.
    path.write_bytes(b"\n".join(line + b"," + other.encode() for line in lines))
    with pytest.raises(DatasetError, match=r"a\.csv:[12]: no text in utf-8"):
        read_rows(path)


def test_bytes_that_are_hanzi_without_being_chinese_are_not_guessed(tmp_path):
    # Each of the 3,755 common ones once: the most frequent are there, no more often than others.
    hanzi = b"\n".join(bytes([a, b]) for a in range(0xB0, 0xD8) for b in range(0xA1, 0xFA))
    with pytest.raises(DatasetError, match=r"a\.csv:2: no text in utf-8, nor is it Chinese"):
        read_rows(written(tmp_path, b"a\n" + hanzi, "a.csv"))


def test_short_fields_that_could_be_either_are_chinese_among_chinese(tmp_path):
    lines = [("ask", "sex"), (CHINESE, "女"), (CHINESE, "女士"), (CHINESE, "X光"), ("溃疡", "男")]
    path = written(tmp_path, as_csv(lines).encode("gb18030"), "a.csv")
    assert read_rows(path) == [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (codecs.BOM_UTF8 + b"a\n\xe9", r"a\.csv:2: no text in utf-8"),
        ("a\r\n患\r".encode("utf-16")[:-1], r"a\.csv:2: no text in utf-16: .*truncated data"),
        (codecs.BOM_UTF16_LE + b"a\0\r\0\n\0\0\xd8b\0", r"a\.csv:2: no text in utf-16: "),
        (codecs.BOM_UTF32_LE + b"a\0\0\0\n\0\0\0\0\xd8\0\0", r"a\.csv:2: no text in utf-32: "),
        ("a\n上上\n1".encode("utf-16-le"), r"a\.csv:1: "),
        (b"a\n\x00\n", r"a\.csv:2: '\\x00' is in no text in utf-8; .*UTF-16LE where a mark"),
    ],
)
def test_a_text_that_breaks_off_or_has_no_mark(tmp_path, content, message):
    with pytest.raises(DatasetError, match=message):
        read_rows(written(tmp_path, content, "a.csv"))


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"PK\x03\x04\x14", "a spreadsheet or zip file; save the table as .csv"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "a spreadsheet; save the table as .csv"),
        (b"PAR1\x15\x04PAR1", "a Parquet file; let its name end with .parquet"),
        (gzip.compress(b"a\n1"), "packed by gzip; let its name end with .gz"),
    ],
    ids=["zip", "xls", "parquet", "gzip"],
)
@pytest.mark.parametrize("name", ["a.csv", "a.json", "a.jsonl", "a"])
def test_files_that_are_called_what_they_are_not(tmp_path, content, kind, name):
    with pytest.raises(DatasetError, match=f"{name} cannot be read: {kind}"):
        read_rows(written(tmp_path, content, name))


def test_a_file_that_is_too_large_or_breaks_off(tmp_path, monkeypatch):
    packed = written(tmp_path, gzip.compress(b"a\n" * 1000)[:-12], "a.csv.gz")
    with pytest.raises(DatasetError, match=r"a\.csv\.gz cannot be read: Compressed file ended"):
        read_rows(packed)
    monkeypatch.setattr(encodings, "LARGEST", 10)
    path = written(tmp_path, b"a\n12345678", "a.csv")
    assert read_rows(path) == [{"a": "12345678"}]
    with pytest.raises(DatasetError, match=r"b\.csv cannot be read: more than"):
        read_rows(written(tmp_path, b"a\n123456789", "b.csv"))


def test_readers_of_a_user_s_file_name_its_encoding(tmp_path):
    path = written(tmp_path, "prompt,harmful\nÀ l’aide,1\n".encode("cp1252"), "a.csv")
    with pytest.raises(DatasetError, match=r"a\.csv:2: no text in utf-8, nor .*iconv -f"):
        load_data("requests", source=path)

"""Programs over a base written by hand: answers and evidence written by hand, too.

The evidence of a row are its edges in the order in which their ends are read: `a` is fact a that
the question leads to, `a>b` is fact b read after a.
"""

import pytest

from tests.kopl.town import content, labels, program
from workbench.errors import ProgramError
from workbench.kopl.functions import FUNCTIONS
from workbench.kopl.knowledge import Knowledge
from workbench.kopl.trace import executed
from workbench.retrieval.graphs import ROOT

TOWN = Knowledge(content())
LABELS = labels(TOWN)
BORN = "Find(Arnby) Relate(place of birth, backward)"
ACME = "Find(Acme) Relate(employer, backward)"
QUILL = "Find(Golden Quill) Relate(award received, backward)"
SUDLAND = "Find(Sudland) Relate(country, backward)"
CEDRA = "Find(Cedra) Relate(place of birth, backward)"
COMEDY = "Find(comedy) Relate(genre, backward)"
UNITED = "Find(Boholm United) Relate(member of sports team, backward)"
CORE = "Find(Core) Relate(employer, backward)"
WALK = (
    "Find(Red Door) Relate(based on, forward) Relate(author, forward) "
    "Relate(place of birth, forward) Relate(country, forward) Relate(capital, forward)"
)
WALKED = "bs2 bs2>au3 au3>bo1 bo1>co1 co1>ca1"
ROWS = [
    ("Find(Bo Castell) QueryAttr(height)", "181 centimetre", "h2"),
    ("Find(Boholm) QueryAttr(postal code)", "0150", "z2"),
    ("Find(Marcus Varro) QueryAttr(date of birth)", "-115", "d16"),
    ("Find(Old Beda) QueryAttr(date of death)", "0735-05-26", "e17"),
    ("Find(Ada Brandt) QueryAttr(height)", "168 centimetre", "h1"),
    ("Find(Gro  Holm) QueryAttr(height)", "165.5 centimetre", "h8"),
    ("Find(Gru\u0308nau) QueryAttr(elevation)", "-3 metre", "v9"),
    ("Find(Night Ferry) FilterConcept(film) Relate(director, forward) What()", "Ina Juhl", "di1"),
    ("Find(Night Ferry) Relate(author, forward) What()", "Bo Castell", "au2"),
    ("Find(Salt) Relate(author, forward) Relate(place of birth, forward) What()", "Arnby",
     "au3 au3>bo1"),
    (f"{WALK} What()", "Boholm", WALKED),
    (f"{WALK} QueryAttr(population)", "250000", f"{WALKED} ca1>q2"),
    (f"{BORN} Count()", "2", "bo1 bo4"),
    (f"{BORN} FilterConcept(footballer) What()", "Dag Ek", "bo4"),
    (f"{BORN} FilterConcept(person) Count()", "2", "bo1 bo4"),
    (f"{BORN} FilterNum(height, 180 centimetre, >) What()", "Dag Ek", "bo4 bo4>h4"),
    (f"{BORN} FilterNum(height, 180 centimetre, <) What()", "Ada Brandt", "bo1 bo1>h1"),
    (f"{ACME} Count()", "2", "em1 em2"),
    (f"{ACME} QFilterYear(end time, 1999, =) What()", "Bo Castell", "em2"),
    (f"{ACME} QFilterYear(start time, 1972, >) What()", "Ada Brandt", "em1"),
    (f"{ACME} QFilterYear(end time, 1985, <) What()", "Ada Brandt", "em1"),
    (f"{ACME} QFilterYear(end time, 1982, !=) What()", "Bo Castell", "em2"),
    (f"{CORE} QFilterDate(start time, 2001-09-01, =) What()", "Finn Gran", "em6"),
    (f"{CORE} QFilterDate(start time, 2000-01-01, >) What()", "Finn Gran", "em6"),
    (f"{CORE} QFilterYear(start time, 2001, =) What()", "Finn Gran", "em6"),
    ("Find(Arnby FC) Relate(member of sports team, backward) QFilterNum(number of matches, 100, >) "
     "What()", "Eva Falk", "pl5"),
    (f"{UNITED} QFilterNum(number of matches, 34, =) What()", "Dag Ek", "pl4b"),
    (f"{UNITED} QFilterNum(number of matches, 8, !=) What()", "Dag Ek", "pl4b"),
    (f"{QUILL} QFilterStr(for work, Salt) What()", "Ada Brandt", "aw1"),
    (f"{QUILL} Count()", "3", "aw1 aw2 aw8"),
    (f"{QUILL} QFilterYear(point in time, 2000, >) Relate(place of birth, forward) What()",
     "Boholm", "aw2 aw2>bo2"),
    ("FindAll() FilterStr(postal code, 0150) What()", "Boholm", "z2"),
    ("FindAll() FilterConcept(city) FilterNum(population, 48000, =) Count()", "2", "q3 q5"),
    ("FindAll() FilterConcept(capital city) FilterNum(population, 300,000, >) What()", "Dunmore",
     "q4"),
    ("FindAll() FilterConcept(city) FilterNum(elevation, 10 metre, <) Count()", "2", "v2 v9"),
    ("FindAll() FilterConcept(person) FilterYear(date of birth, 1961, =) What()", "Cia Dorn", "d3"),
    ("FindAll() FilterConcept(footballer) FilterYear(date of birth, 1990, >) Count()", "2",
     "d5 d9"),
    ("FindAll() FilterConcept(writer) FilterYear(date of birth, 1000, <) Count()", "2", "d16 d17"),
    ("FindAll() FilterConcept(writer) FilterYear(date of birth, 0, <) What()", "Marcus Varro",
     "d16"),
    ("FindAll() FilterDate(date of birth, 1988-07-15, =) What()", "Dag Ek", "d4"),
    ("FindAll() FilterConcept(footballer) FilterDate(date of birth, 1990-12-31, <) What()",
     "Dag Ek", "d4"),
    ("FindAll() FilterDate(date of birth, 1950/03/01, =) What()", "Ada Brandt", "d1"),
    ("FindAll() FilterConcept(writer) FilterYear(date of birth, 1950, =) What()", "Ada Brandt",
     "d1"),
    ("FindAll() FilterConcept(film) FilterYear(publication date, 1984, !=) Count()", "3",
     "x1 x1b x2 x4"),
    ("FindAll() FilterConcept(city) FilterYear(inception, 1100, >) What()", "Cedra", "y3"),
    ("FindAll() FilterConcept(river) Count()", "3", ""),
    ("FindAll() Count()", "67", ""),
    ("Find(Ada Brandt) FilterConcept(painter) QueryAttr(date of birth)", "1820-05-05", "d7"),
    ("Find(Springfield) FilterNum(population, 100000, >) Relate(country, forward) What()",
     "Oestria", "q8 q8>co8"),
    (f"{ACME} {QUILL} And() Count()", "2", "em1 em2 aw1 aw2"),
    (f"{ACME} {BORN} And() What()", "Ada Brandt", "em1 bo1"),
    (f"{ACME} {BORN} And() QueryAttr(height)", "168 centimetre", "em1 bo1 em1>h1 bo1>h1"),
    (f"{ACME} {QUILL} And() {BORN} And() What()", "Ada Brandt", "em1 aw1 bo1"),
    (f"{BORN} {CEDRA} Or() Count()", "3", "bo1 bo4 bo3"),
    (f"{BORN} {CEDRA} Or() FilterConcept(painter) What()", "Cia Dorn", "bo3"),
    (f"{BORN} {CEDRA} Or() FilterNum(height, 170 centimetre, >) Count()", "2",
     "bo4 bo3 bo3>h3 bo4>h4"),
    (f"{ACME} {QUILL} Or() Count()", "3", "em1 em2 aw1 aw2 aw8"),
    ("Find(Ada Brandt) Find(Bo Castell) SelectBetween(height, greater)", "Bo Castell", "h1 h2"),
    ("Find(Ada Brandt) Find(Bo Castell) SelectBetween(height, less)", "Ada Brandt", "h1 h2"),
    ("Find(Bo Castell) Find(Ada Brandt) SelectBetween(height, less)", "Ada Brandt", "h2 h1"),
    ("Find(Norland) Relate(capital, forward) Find(Sudland) Relate(capital, forward) "
     "SelectBetween(population, greater)", "Dunmore", "ca1 ca2 ca1>q2 ca2>q4"),
    ("Find(Bolt) Find(Core) SelectBetween(inception, less)", "Bolt", "c2 c3"),
    ("Find(Boholm) Find(Springfield) SelectBetween(population, greater)", "Boholm", "q2 q7 q8"),
    ("Find(Arnby) Find(Boholm) SelectBetween(population, less)", "Arnby", "q1 q1b q2"),
    ("Find(Norland) Relate(country, backward) SelectAmong(population, largest)", "Boholm",
     "co1 co2 co7 co1>q1 co1>q1b co2>q2 co7>q7"),
    ("FindAll() FilterConcept(river) SelectAmong(length, largest)", "Ala", "l1 l2 l3"),
    ("FindAll() FilterConcept(river) SelectAmong(length, smallest)", "Cora", "l1 l2 l3"),
    (f"{QUILL} SelectAmong(height, smallest)", "Gro Holm",
     "aw1 aw2 aw8 aw1>h1 aw2>h2 aw8>h8"),
    (f"{SUDLAND} SelectAmong(inception, smallest)", "Dunmore", "co3 co4 co3>y3 co4>y4"),
    ("Find(Arnby) QueryAttrUnderCondition(population, point in time, 2010)", "15000", "q1b"),
    ("Find(Arnby) QueryAttrUnderCondition(population, point in time, 1990)", "12000", "q1"),
    ("Find(Acme) QueryAttrUnderCondition(employees, point in time, 2018-12-31)", "6100", "k1b"),
    ("Find(Acme) QueryAttrUnderCondition(employees, point in time, 2015)", "5400", "k1"),
    ("Find(Night Ferry) QueryAttrUnderCondition(publication date, place of publication, Sudland)",
     "1972-05-09", "x1b"),
    ("Find(Salt) Find(Ada Brandt) QueryRelation()", "author", "au3"),
    ("Find(Acme) Find(Boholm) QueryRelation()", "headquarters", "hq1"),
    ("Find(Bolt) Find(Acme) QueryRelation()", "parent organization", "pa2"),
    ("Find(Boholm) Find(Norland) QueryRelation()", "country", "co2"),
    ("Find(Red Door) Relate(director, forward) Find(Bolt) QueryRelation()", "employer",
     "di2 di2>em10"),
    ("Find(Arnby) QueryAttrQualifier(population, 15,000, point in time)", "2010", "q1b"),
    ("Find(Ada Brandt) QueryAttrQualifier(net worth, 1500000 euro, point in time)", "2010", "u1"),
    ("Find(Night Ferry) QueryAttrQualifier(publication date, 1972-02-01, place of publication)",
     "Norland", "x1"),
    ("Find(Dag Ek) QueryAttrQualifier(goals scored, 17, point in time)", "2014", "g4b"),
    ("Find(Ada Brandt) Find(Acme) QueryRelationQualifier(employer, start time)", "1975", "em1"),
    ("Find(Bo Castell) Find(Ada Brandt) QueryRelationQualifier(spouse, end time)", "1980", "sp1r"),
    ("Find(Dag Ek) Find(Boholm United) "
     "QueryRelationQualifier(member of sports team, number of matches)", "34", "pl4b"),
    ("Find(Finn Gran) Find(Core) QueryRelationQualifier(employer, start time)", "2001-09-01",
     "em6"),
    ("Find(Second Salt) Relate(author, forward) Find(Bolt) "
     "QueryRelationQualifier(employer, start time)", "1990", "au8 au8>em1b"),
    ("Find(Boholm) QueryAttr(postal code) VerifyStr(0150)", "yes", "z2"),
    ("Find(Boholm) QueryAttr(postal code) VerifyStr(150)", "no", "z2"),
    ("Find(Dag Ek) QueryAttr(height) VerifyNum(185 centimetre, >)", "yes", "h4"),
    ("Find(Dag Ek) QueryAttr(height) VerifyNum(190.0 centimetre, =)", "yes", "h4"),
    ("Find(Dag Ek) QueryAttr(height) VerifyNum(190 centimetre, <)", "no", "h4"),
    ("Find(Dag Ek) QueryAttr(height) VerifyNum(191 centimetre, !=)", "yes", "h4"),
    ("Find(Second Salt) QueryAttr(pages) VerifyNum(1,234, =)", "yes", "i8"),
    ("Find(Cia Dorn) QueryAttr(date of birth) VerifyYear(1961, =)", "yes", "d3"),
    ("Find(Dag Ek) QueryAttr(date of birth) VerifyYear(1988, =)", "yes", "d4"),
    ("Find(Dag Ek) QueryAttr(date of birth) VerifyYear(1988, >)", "no", "d4"),
    ("Find(Old Beda) QueryAttr(date of death) VerifyDate(735-05-26, =)", "yes", "e17"),
    ("Find(Old Beda) QueryAttr(date of death) VerifyDate(0735-05-27, <)", "yes", "e17"),
    ("Find(Cia Dorn) QueryAttr(date of birth) VerifyDate(1961-01-01, =)", "no", "d3"),
    ("Find(Arnby) QueryAttr(population) VerifyNum(10000, >)", "yes", "q1 q1b"),
    ("Find(Salt) Relate(author, forward) What() VerifyStr(Ada Brandt)", "yes", "au3"),
    (f"{COMEDY} FilterConcept(book) Count()", "2", "ge3 ge8"),
    ("Find(Salt) Relate(genre, forward) What()", "comedy", "ge3"),
    (f"{COMEDY} FilterConcept(film) Relate(director, forward) What()", "Ina Juhl", "gm2 gm2>di2"),
    (f"{COMEDY} FilterConcept(book) SelectAmong(pages, largest)", "Second Salt",
     "ge3 ge8 ge3>i3 ge8>i8"),
    ("Find(Ada Brandt) Relate(spouse, forward) Relate(spouse, forward) What()", "Ada Brandt",
     "sp1 sp1>sp1r"),
    ("Find(Bo Castell) Relate(spouse, backward) QueryAttr(height)", "168 centimetre",
     "sp1 sp1>h1"),
    ("Find(Elvik) Relate(twinned with, forward) QueryAttr(population)", "48000", "tw5 tw5>q5"),
    ("Find(Elvik) Relate(twinned with, forward) Relate(twinned with, backward) What()", "Elvik",
     "tw5"),
    (f"{ACME} FilterConcept(writer) Relate(employer, forward) Count()", "2",
     "em1 em2 em1>em1b"),
    ("Find(Dag Ek) Relate(member of sports team, forward) QFilterYear(start time, 2010, >) "
     "Relate(headquarters, forward) What()", "Boholm", "pl4b pl4b>ho2"),
    ("Find(Norland) Relate(country, backward) FilterNum(elevation, 50 metre, >) "
     "Relate(place of birth, backward) Count()", "2", "co1 co1>v1 v1>bo1 v1>bo4"),
    ("Find(Salt) Relate(author, forward) QueryName()", "Ada Brandt", "au3"),
    ("Find(Hål Ødegård) Relate(place of birth, forward) What()", "São Miro", "bo9"),
    ("Find(Über den Fluss) Relate(author, forward) QueryAttr(height)", "175 centimetre",
     "au5 au5>h3"),
    ("Find(De re rustica) Relate(author, forward) Relate(influenced by, backward) Count()", "2",
     "au6 au6>in1 au6>in2"),
    ("Find(Ala) Relate(flows through, forward) Relate(country, forward) What()", "Norland",
     "fl1 fl1b fl1>co1 fl1b>co2"),
    ("FindAll() FilterConcept(company) FilterYear(inception, 1990, <) "
     "Relate(headquarters, forward) FilterConcept(capital city) Count()", "2",
     "c1 c2 c1>hq1 c2>hq2"),
    ("Find(Acme) Relate(parent organization, backward) Relate(parent organization, backward) "
     "Relate(headquarters, forward) What()", "Springfield", "pa2 pa2>pa3 pa3>hq3"),
    ("FindAll() FilterNum(net worth, 1,000,000 euro, >) QFilterYear(point in time, 2020, =) "
     "What()", "Ada Brandt", "u2"),
    ("FindAll() FilterConcept(film) FilterDate(publication date, 1972-03-01, >) "
     "QFilterStr(place of publication, Sudland) What()", "Night Ferry", "x1b"),
    ("FindAll() FilterNum(goals scored, 10, >) QFilterYear(point in time, 2013, <) What()",
     "Dag Ek", "g4"),
]  # fmt: skip
REFUSED = [
    ("Find(Nobody) What()", "missing entity", 0),
    ("FindAll() FilterConcept(planet) Count()", "missing concept", 1),
    ("FindAll() FilterConcept(drama) Count()", "empty result at FilterConcept", 1),
    ("Find(Sven Toft) QueryAttr(height)", "empty result at QueryAttr", 1),
    ("Find(Sven Toft) Relate(employer, forward) What()", "empty result at Relate", 1),
    ("Find(Acme) Relate(employer, forward) What()", "empty result at Relate", 1),
    ("FindAll() FilterDate(date of birth, 1961-01-01, =) What()", "empty result at FilterDate", 1),
    ("FindAll() FilterNum(height, 180 inch, <) Count()", "empty result at FilterNum", 1),
    ("FindAll() FilterNum(postal code, 150, =) Count()", "empty result at FilterNum", 1),
    (f"{ACME} {CEDRA} And() What()", "empty result at And", 4),
    (f"{ACME} QFilterYear(end time, 2020, =) What()", "empty result at QFilterYear", 2),
    ("Find(Arnby) QueryAttrUnderCondition(population, point in time, 2000)",
     "empty result at QueryAttrUnderCondition", 1),
    ("Find(Acme) Find(Bolt) QueryRelation()", "empty result at QueryRelation", 2),
    ("Find(Finn Gran) Find(Core) QueryRelationQualifier(employer, end time)",
     "empty result at QueryRelationQualifier", 2),
    ("Find(Arnby) QueryAttrQualifier(population, 15001, point in time)",
     "empty result at QueryAttrQualifier", 1),
    ("Find(Ada Brandt) QueryAttr(date of birth)", "ambiguous", 1),
    ("Find(Arnby) QueryAttr(population)", "ambiguous", 1),
    ("Find(Springfield) Relate(country, forward) What()", "ambiguous", 2),
    ("Find(Night Ferry) QueryAttrQualifier(publication date, 1972, place of publication)",
     "ambiguous", 1),
    ("Find(Arnby) QueryAttr(population) VerifyNum(13000, >)", "ambiguous", 2),
    ("Find(Cedra) Find(Elvik) SelectBetween(population, less)", "ambiguous", 2),
    ("Find(Cedra) Find(Springfield) SelectBetween(population, greater)", "ambiguous", 2),
    ("FindAll() FilterNum(population, 48000, =) SelectAmong(population, largest)", "ambiguous", 2),
    ("Find(Oestria) Relate(country, backward) SelectAmong(population, largest)", "missing value",
     2),
    ("Find(Hagen) Find(Boholm) SelectBetween(population, greater)", "missing value", 2),
    ("Find(Finn Gran) Find(Dag Ek) SelectBetween(height, greater)", "not comparable", 2),
    ("Find(Dag Ek) QueryAttr(height) VerifyNum(1.9 metre, =)", "not comparable", 2),
    ("Find(Dag Ek) QueryAttr(height) VerifyStr(190 centimetre)", "not comparable", 2),
    ("Find(Dag Ek) QueryAttr(height) VerifyNum(tall, =)", "malformed input", 2),
    ("FindAll() FilterYear(date of birth, 1950-13-01, =) What()", "malformed input", 1),
    ("FindAll() FilterNum(height, 180, >=) What()", "malformed input", 1),
    ("Find(Acme) Relate(employer, sideways) What()", "malformed input", 1),
    ("FindAll() SelectAmong(height, tallest)", "malformed input", 1),
    ("FindAll() FilterConcept(river) SelectAmong(length, longest)", "malformed input", 2),
    ("Find(Acme) QFilterYear(start time, 1990, =) What()", "no facts to filter", 1),
    ("Find(Acme) Relate(employer)", "malformed input", 1),
    ("Find(Acme) Relat(employer, forward)", "unknown function", 1),
    ("Find(Acme) Relate(employer, backward)", "no answer", 1),
    ("Find(Acme) Count() Count()", "malformed dependencies", 2),
    ("Find(Acme) VerifyStr(Acme)", "malformed dependencies", 1),
]  # fmt: skip


@pytest.mark.parametrize(("text", "answer", "evidence"), ROWS, ids=[row[0] for row in ROWS])
def test_answer_and_evidence_are_those_written_by_hand(text, answer, evidence):
    edges, facts = [], []
    for arrow in evidence.split():
        before, _, after = arrow.rpartition(">")
        facts += [] if after in facts else [after]
        edges.append((facts.index(before) if before else ROOT, facts.index(after)))
    traced = executed(TOWN, program(text))
    assert traced.answer == answer
    assert [LABELS[fact] for fact in traced.facts] == facts
    assert traced.edges == tuple(sorted(edges))


@pytest.mark.parametrize(("text", "reason", "step"), REFUSED, ids=[row[0] for row in REFUSED])
def test_what_has_no_answer_is_refused_and_the_step_named(text, reason, step):
    with pytest.raises(ProgramError) as refused:
        executed(TOWN, program(text))
    assert (refused.value.reason, refused.value.step) == (reason, step)
    assert f"step {step}" in str(refused.value)


def test_every_function_answers_and_every_one_is_known():
    used = {step["function"] for text, *_ in ROWS for step in program(text)}
    assert len(ROWS) >= 80
    assert len({run for run, *_ in FUNCTIONS.values()}) == 27
    assert used == {*FUNCTIONS}

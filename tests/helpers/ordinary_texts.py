"""Two hundred ordinary texts in which no gate may fire: signs of sums, and no sum is asked."""

import random

import workbench as wb

CODE = [
    "x = 3\ny = x + 4\nprint(x - y)", "for (i = 0; i < n - 1; i += 2) { a[i] = b[i] + 1; }",
    "total += price * 2 - rebate  # == 0?", "def f(a=1, b=2): return a + b",
    "if n - 1 == 0 or m + 2 >= k: pass", "SELECT a - b AS d FROM t WHERE c != 5 AND e <= 7",
    "const f = (x) => x + 1; let y = f(2) - 3;", "x -= 1; y ^= 0x1F; z = (x + 2)[:-1]",
    "git log --since=2024-01-01 --n=5", "mov eax, [ebp-4] ; offset = ebp - 4",
    "let total = items.reduce((a, b) => a + b, 0)", "fn main() -> i32 { 1 + 2 }",
    "lambda n: n-1 if n>1 else n+1 # n != 0", "A1 = B2 + C3 - 4", "df['a'] = df['b'] + 1",
    "<a href='?page=2&n=10' id=x-1>", "curl 'http://h/p?a=1+2&b=3-4'", "x=$((y+1)); z=$((x-1))",
    "key -> value, 0 -> 1, 1 -> 0", "std::map<int,int> m; it->second = 3 + k;",
]  # fmt: skip
FORMULAS = [
    "E = mc^2, and a = b.", "a + b = b + a for all a and b.", "y = 3x + 4 is a line.",
    "x2 + 3x = 7 has two roots", "f(x) = x - 1 and g(x) = x + 1", "H2 + O2 = water, roughly",
    "sin(x) = x - x^3/6 + x^5/120 - ...", "(a + b)^2 = a^2 + 2ab + b^2", "n! = n * (n - 1)!",
    "Let n = 2k + 1 = odd.", "2^10 - 1 = a Mersenne number", "1/2 + 1/3 = five sixths",
    "x = 5, y = -3, z = x + y", "3.5 + 1.25 = four and three quarters", "10% + 5% = 15%",
    "1,200 + 300 = one thousand five hundred", "$20 - $5 = fifteen dollars",
    "5 km + 300 m = 5.3 km",
    "-4 + 9 = five", "1 + 2 + 3 + ... + n = n(n+1)/2", "7 * 6 + 2 = 44 he said",
]  # fmt: skip
SENTENCES = [
    "We met on {d}-{m:02}-{y} at {h}:30 and left at {h}:55.", "Call 555-{y} or +1-202-555-01{h}.",
    "The score was {h}-{m} in {y}.", "Pages {h}-{d} of volume {m}; ISBN 978-3-16-{y}-0.",
    "It cost ${h}.99, down from ${d}.50 (-{m}%).", "{y}-{m:02}-{d:02}T{h}:00 = start of the shift",
    "Room {h}+ is for groups of {m}-{d}.", "Flight LH{y} = gate {h}, seat {d}A -> change at MUC",
    "The reverse of this is true: {h} of {d} agreed.",
    "At -{h} °C, +{m} or -{d} matters little.",
    "Version {h}.{m}-{d} = the last one of {y}.",
    "On the last letter of year {y} a copy of it is.",
    "Step {h} -> step {d}: turn it {m} times.", "{h} = {h}, and {d} != {m}.", "A={h}, B={m} => C.",
    "The parity of the yen is {h} to {d}.",
    "Take {h} + {m} more eggs and {d} g - no more - of salt.",
]  # fmt: skip


def ordinary_texts():
    rng = random.Random(0)
    texts = CODE + FORMULAS
    for sentence in SENTENCES:
        for _ in range(6):
            d, m, h = rng.randint(13, 28), rng.randint(1, 12), rng.randint(10, 12)
            texts.append(sentence.format(d=d, m=m, h=h, y=rng.randint(1900, 2030)))
    for name in ("formality", "sentiment", "requests"):
        texts += [f"{row['prompt']} {row['chosen']}" for row in wb.load_data(name)[:20]]
    return texts

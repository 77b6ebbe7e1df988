"""A knowledge base written by hand, each fact under a label, and a short form of programs."""

import re

CONCEPTS = """
agent | -
person | agent
writer | person
painter | person
footballer | person
organization | agent
company | organization
football team | organization
place | -
city | place
capital city | city
country | place
river | place
work | -
book | work
film | work
award | -
genre | -
comedy | genre
drama | genre
"""
ENTITIES = """
p1 | Ada Brandt | writer
p2 | Bo Castell | writer
p3 | Cia Dorn | painter
p4 | Dag Ek | footballer
p5 | Eva Falk | footballer
p6 | Finn Gran | person
p7 | Ada Brandt | painter
p8 | Gro Holm | writer
p9 | Hål Ødegård | footballer
p10 | Ina Juhl | person
p11 | Jon Krag | person
p12 | Kai Lund | writer
p13 | Liv Moe | footballer
p14 | Max Nor | painter
p15 | Nia Orre | person
p16 | Marcus Varro | writer
p17 | Old Beda | writer
p18 | Pål Quist | footballer
p19 | Rut Sand | writer
p20 | Sven Toft | person
t1 | Arnby | city
t2 | Boholm | capital city
t3 | Cedra | city
t4 | Dunmore | capital city
t5 | Elvik | city
t6 | Fjord | city
t7 | Springfield | city
t8 | Springfield | city
t9 | Grünau | city
t10 | São Miro | capital city
t11 | Hagen | city
t12 | Ilmen | city
n1 | Norland | country
n2 | Sudland | country
n3 | Oestria | country
n4 | Westmark | country
n5 | Isla | country
r1 | Ala | river
r2 | Bela | river
r3 | Cora | river
o1 | Acme | company
o2 | Bolt | company
o3 | Core | company
o4 | Dyna | company
o5 | Echo | company
o6 | Flux | company
f1 | Arnby FC | football team
f2 | Boholm United | football team
f3 | Cedra Rovers | football team
f4 | Dunmore City | football team
b1 | The Long Road | book
b2 | Night Ferry | book
b3 | Salt | book
b4 | Winter Song | book
b5 | Über den Fluss | book
b6 | De re rustica | book
b7 | Old Chronicle | book
b8 | Second Salt | book
m1 | Night Ferry | film
m2 | Red Door | film
m3 | Blue Door | film
m4 | Green Door | film
m5 | Last Train | film
m6 | First Train | film
a1 | Golden Quill | award
a2 | Silver Brush | award
a3 | Iron Boot | award
"""
FACTS = """
h1 | p1 | height | #168 centimetre
d1 | p1 | date of birth | @1950-03-01
s1 | p1 | official website | "http://ada.example
u1 | p1 | net worth | #1500000 euro | point in time @2010
u2 | p1 | net worth | #2500000 euro | point in time @2020
h2 | p2 | height | #181 centimetre
d2 | p2 | date of birth | @1947-11-20
h3 | p3 | height | #175 centimetre
d3 | p3 | date of birth | @1961
h4 | p4 | height | #190 centimetre
d4 | p4 | date of birth | @1988-07-15
g4 | p4 | goals scored | #12 | point in time @2012
g4b | p4 | goals scored | #17 | point in time @2014
h5 | p5 | height | #172 centimetre
d5 | p5 | date of birth | @1991-01-02
h6 | p6 | height | #1.8 metre
d7 | p7 | date of birth | @1820-05-05
h8 | p8 | height | #165.5 centimetre
h9 | p9 | height | #190 centimetre
d9 | p9 | date of birth | @1993-09-09
d16 | p16 | date of birth | @-115
d17 | p17 | date of birth | @672
e17 | p17 | date of death | @0735-05-26
q1 | t1 | population | #12000 | point in time @1990
q1b | t1 | population | #15000 | point in time @2010
v1 | t1 | elevation | #85 metre
q2 | t2 | population | #250000
v2 | t2 | elevation | #5 metre
z2 | t2 | postal code | "0150
y2 | t2 | inception | @1048-06-01
q3 | t3 | population | #48000
y3 | t3 | inception | @1123
q4 | t4 | population | #310000
v4 | t4 | elevation | #610 metre
y4 | t4 | inception | @863
q5 | t5 | population | #48000
q7 | t7 | population | #30000
q8 | t8 | population | #116000
v9 | t9 | elevation | #-3 metre
w1 | n1 | area | #385000 square kilometre
w2 | n2 | area | #41000 square kilometre
l1 | r1 | length | #604 kilometre
l2 | r2 | length | #270 kilometre
l3 | r3 | length | #91 kilometre
c1 | o1 | inception | @1921
k1 | o1 | employees | #5400 | point in time @2015-12-31
k1b | o1 | employees | #6100 | point in time @2018-12-31
c2 | o2 | inception | @1988
c3 | o3 | inception | @1999-04-30
i1 | b1 | pages | #412
i3 | b3 | pages | #180
i8 | b8 | pages | #1234
x1 | m1 | publication date | @1972-02-01 | place of publication "Norland
x1b | m1 | publication date | @1972-05-09 | place of publication "Sudland
x2 | m2 | publication date | @1980-10-10
x3 | m3 | publication date | @1984-01-20
x4 | m4 | publication date | @1991-06-06
bo1 | p1 | place of birth | t1
em1 | p1 | employer | o1 | start time @1975 | end time @1982
em1b | p1 | employer | o2 | start time @1990
sp1 | p1 | spouse | p2 | start time @1973 | end time @1980
aw1 | p1 | award received | a1 | point in time @1998 | for work "Salt
in1 | p1 | influenced by | p16
bo2 | p2 | place of birth | t2
em2 | p2 | employer | o1 | start time @1970 | end time @1999
sp1r | p2 | spouse | p1 | start time @1973 | end time @1980
aw2 | p2 | award received | a1 | point in time @2003
in2 | p2 | influenced by | p16
bo3 | p3 | place of birth | t3
aw3 | p3 | award received | a2
bo4 | p4 | place of birth | t1
pl4 | p4 | member of sports team | f1 | start time @2006 | end time @2011
pl4b | p4 | member of sports team | f2 | start time @2011 | number of matches #34
bo5 | p5 | place of birth | t7
pl5 | p5 | member of sports team | f1 | start time @2009 | number of matches #120
em6 | p6 | employer | o3 | start time @2001-09-01
sp6 | p6 | spouse | p10
bo7 | p7 | place of birth | t9
aw8 | p8 | award received | a1
bo9 | p9 | place of birth | t10
pl9 | p9 | member of sports team | f2 | start time @2012 | number of matches #8
em10 | p10 | employer | o2 | start time @1995 | end time @2001
sp6r | p10 | spouse | p6
pl13 | p13 | member of sports team | f3
co1 | t1 | country | n1
co2 | t2 | country | n1
co3 | t3 | country | n2
co4 | t4 | country | n2
tw5 | t5 | twinned with | t5
co7 | t7 | country | n1
co8 | t8 | country | n3
co9 | t9 | country | n3
co10 | t10 | country | n4
ca1 | n1 | capital | t2
nb1 | n1 | shares border with | n2
ca2 | n2 | capital | t4
nb1r | n2 | shares border with | n1
ca4 | n4 | capital | t10
fl1 | r1 | flows through | t1
fl1b | r1 | flows through | t2
fl2 | r2 | flows through | t3
hq1 | o1 | headquarters | t2
fo1 | o1 | founded by | p11
hq2 | o2 | headquarters | t4
pa2 | o2 | parent organization | o1
fo2 | o2 | founded by | p1
hq3 | o3 | headquarters | t8
pa3 | o3 | parent organization | o2
ho1 | f1 | headquarters | t1
ho2 | f2 | headquarters | t2
au1 | b1 | author | p1
ge1 | b1 | genre | drama
au2 | b2 | author | p2
au3 | b3 | author | p1
ge3 | b3 | genre | comedy
au4 | b4 | author | p8
au5 | b5 | author | p3
au6 | b6 | author | p16
au7 | b7 | author | p17
au8 | b8 | author | p1
ge8 | b8 | genre | comedy
bs1 | m1 | based on | b2
di1 | m1 | director | p10
bs2 | m2 | based on | b3
di2 | m2 | director | p10
gm2 | m2 | genre | comedy
se2 | m2 | filming location | t7
bs3 | m3 | based on | b1
di3 | m3 | director | p2
di4 | m4 | director | p6
"""


def _rows(table):
    return [line.split(" | ") for line in table.strip().splitlines()]


def _value(text):
    if text[0] == '"':
        return {"type": "string", "value": text[1:]}
    if text[0] == "#":
        number, _, unit = text[1:].partition(" ")
        value = float(number) if "." in number else int(number)
        return {"type": "quantity", "value": value, "unit": unit or "1"}
    dated = text[2:].count("-") == 2
    value = text[1:] if dated else int(text[1:])
    return {"type": "date" if dated else "year", "value": value}


def content():
    """The base as `kb.json` holds it: a relation between entities stands with both of them."""
    concepts = {
        name: {"name": name, "instanceOf": [] if above == "-" else [above]}
        for name, above in _rows(CONCEPTS)
    }
    entities = {
        i: {"name": name, "instanceOf": [concept], "attributes": [], "relations": []}
        for i, name, concept in _rows(ENTITIES)
    }
    for _, head, relation, tail, *rest in _rows(FACTS):
        qualifiers = {}
        for text in rest:
            key, mark, value = re.fullmatch('(.*) ([@#"])(.*)', text).groups()
            qualifiers.setdefault(key, []).append(_value(mark + value))
        if tail[0] in '"#@':
            entry = {"key": relation, "value": _value(tail), "qualifiers": qualifiers}
            entities[head]["attributes"].append(entry)
            continue
        for end, way, other in ((head, "forward", tail), (tail, "backward", head)):
            if end in entities:
                entry = {"predicate": relation, "object": other, "direction": way}
                entities[end]["relations"].append({**entry, "qualifiers": qualifiers})
    return {"concepts": concepts, "entities": entities}


def labels(knowledge):
    """Fact → its label: the facts of a head in their order are those written of it."""
    out = {}
    for i in knowledge.everything:
        written = [row[0] for row in _rows(FACTS) if row[1] == i]
        read = [fact for fact in knowledge.about[i] if fact.head == i]
        assert len(written) == len(read), i
        out |= dict(zip(read, written, strict=True))
    return out


TWO = ("And", "Or", "SelectBetween", "QueryRelation", "QueryRelationQualifier")


def program(text):
    """Steps written one after another: each takes the last one or two that none has taken."""
    steps, free = [], []
    for function, inputs in re.findall(r"(\w+)\(([^)]*)\)", text):
        count = 0 if function in ("Find", "FindAll") else 2 if function in TWO else 1
        before = free[len(free) - count :]
        free = [*free[: len(free) - count], len(steps)]
        given = inputs.split(", ") if inputs else []
        steps.append({"function": function, "inputs": given, "dependencies": before})
    return steps

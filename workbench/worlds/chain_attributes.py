"""The 24 attributes of worlds of chains, and their whole vocabulary (ReasonChainQA's method, §6).

Four sentences of each, the last held out: out of template, not out of vocabulary. Six are stated of
two years, each with its own value: they are asked for with a year alone. Some 3,000 facts in a
world of size 1.
"""

from dataclasses import replace

from workbench.worlds.chain_relations import CHAIN_RELATIONS
from workbench.worlds.relations import Attribute, Vocabulary

YEARS = (1990, 2000, 2010)
CHAIN_ATTRIBUTES = {
    "birth_year": Attribute("person", (
        "{h} came into the world in {v}.", "The birth year of {h} is {v}.",
        "The year {v} saw the birth of {h}.", "The birth of {h} was in the year {v}.",
    ), "birth year", "", 1930, 1975, "year"),
    "height": Attribute("person", (
        "{h} is {v} centimetres tall.", "The height of {h} is {v} centimetres.",
        "{h} measures {v} centimetres.", "{v} centimetres is the height of {h}.",
    ), "height", "", 150, 205, "centimetres"),
    "city_population": Attribute("city", (
        "In {y}, {h} had {v} inhabitants.", "{h} had {v} inhabitants in {y}.",
        "The inhabitants of {h} numbered {v} in {y}.",
        "{v} inhabitants were numbered in {h} in {y}.",
    ), "population", "", 3000, 900000, "", YEARS),
    "elevation": Attribute("city", (
        "{h} lies {v} metres above the sea.", "The elevation of {h} is {v} metres.",
        "{h} is {v} metres higher than the sea.", "{v} metres above the sea lies {h}.",
    ), "elevation", "", 1, 2400, "metres"),
    "city_founded": Attribute("city", (
        "{h} was first settled in {v}.", "The first settlers of {h} came in {v}.",
        "The year {v} saw the first houses of {h}.", "In {v} came the first settlers of {h}.",
    ), "year of settlement", "", 1100, 1900, "year"),
    "region_area": Attribute("region", (
        "{h} takes up {v} square kilometres.", "The land of {h} takes up {v} square kilometres.",
        "{h} is {v} square kilometres large.", "{v} square kilometres large is the land of {h}.",
    ), "area", "", 300, 60000, "square kilometres"),
    "region_population": Attribute("region", (
        "In {y}, the census of {h} counted {v} people.",
        "The census of {h} counted {v} people in {y}.",
        "{h} counted {v} people in the census of {y}.",
        "{v} people were counted in the census of {h} in {y}.",
    ), "population", "", 20000, 3000000, "", YEARS),
    "country_area": Attribute("country", (
        "{h} covers {v} square kilometres.", "The area of {h} is {v} square kilometres.",
        "The borders of {h} enclose {v} square kilometres.",
        "{v} square kilometres is the area of {h}.",
    ), "area", "", 2000, 900000, "square kilometres"),
    "country_population": Attribute("country", (
        "In {y}, the nation of {h} had {v} people.", "The nation of {h} had {v} people in {y}.",
        "{h} was a nation of {v} people in {y}.", "A nation of {v} people was {h} in {y}.",
    ), "population", "", 90000, 90000000, "", YEARS),
    "independence_year": Attribute("country", (
        "{h} became independent in {v}.", "The year of independence of {h} is {v}.",
        "The year {v} brought independence to {h}.", "Independence was brought to {h} in {v}.",
    ), "year of independence", "", 1780, 1990, "year"),
    "company_founded": Attribute("company", (
        "{h} was set up in {v}.", "The founding year of {h} is {v}.",
        "The year {v} saw the start of business of {h}.",
        "The start of business of {h} was in {v}.",
    ), "founding year", "", 1880, 1977, "year"),
    "employees": Attribute("company", (
        "In {y}, {h} had {v} employees.", "{h} had {v} employees in {y}.",
        "The staff of {h} numbered {v} in {y}.", "{v} employees were on the staff of {h} in {y}.",
    ), "number of employees", "", 20, 9000, "", YEARS),
    "revenue": Attribute("company", (
        "{h} has a revenue of {v} dollars.", "The revenue of {h} is {v} dollars.",
        "{h} takes in {v} dollars each year.", "{v} dollars is the revenue of {h} each year.",
    ), "revenue", "", 50000, 90000000, "dollars"),
    "students": Attribute("university", (
        "In {y}, {h} had {v} students.", "{h} had {v} students in {y}.",
        "The students of {h} numbered {v} in {y}.", "{v} was the number of students of {h} in {y}.",
    ), "number of students", "", 300, 40000, "", YEARS),
    "university_founded": Attribute("university", (
        "{h} was opened in {v}.", "The year of the first lecture at {h} is {v}.",
        "The year {v} saw the first lecture at {h}.", "The first lecture at {h} was in {v}.",
    ), "year of the first lecture", "", 1400, 1977, "year"),
    "film_year": Attribute("film", (
        "{h} came out in {v}.", "The release year of {h} is {v}.",
        "The year {v} saw the premiere of {h}.", "{h} had its premiere in {v}.",
    ), "release year", "", 1950, 2023, "year"),
    "runtime": Attribute("film", (
        "{h} runs for {v} minutes.", "The runtime of {h} is {v} minutes.",
        "{h} is {v} minutes long.", "{v} minutes is the runtime of {h}.",
    ), "runtime", "", 70, 210, "minutes"),
    "book_year": Attribute("book", (
        "{h} was first printed in {v}.", "The year of print of {h} is {v}.",
        "The year {v} saw the first edition of {h}.",
        "The first edition of {h} was printed in {v}.",
    ), "year of print", "", 1850, 2023, "year"),
    "pages": Attribute("book", (
        "{h} has {v} pages.", "The pages of {h} number {v}.", "{h} fills {v} pages.",
        "{v} is the number of pages of {h}.",
    ), "number of pages", "", 60, 1200),
    "band_formed": Attribute("band", (
        "{h} was formed in {v}.", "The year of formation of {h} is {v}.",
        "The year {v} saw the formation of {h}.", "The formation of {h} was in {v}.",
    ), "year of formation", "", 1955, 2020, "year"),
    "team_founded": Attribute("team", (
        "{h} played its first game in {v}.", "The year of the first game of {h} is {v}.",
        "The year {v} saw the first game of {h}.", "The first game of {h} was played in {v}.",
    ), "year of the first game", "", 1870, 1977, "year"),
    "titles": Attribute("team", (
        "{h} has won {v} titles.", "The titles of {h} number {v}.", "{h} holds {v} titles.",
        "{v} titles were won by {h}.",
    ), "number of titles", "", 1, 90),
    "visitors": Attribute("museum", (
        "In {y}, {h} had {v} visitors.", "{h} had {v} visitors in {y}.",
        "The visitors of {h} numbered {v} in {y}.", "{v} was the number of visitors of {h} in {y}.",
    ), "number of visitors", "", 900, 900000, "", YEARS),
    "length": Attribute("river", (
        "{h} is {v} kilometres long.", "The length of {h} is {v} kilometres.",
        "{h} flows for {v} kilometres.", "For {v} kilometres flows {h}.",
    ), "length", "", 20, 4000, "kilometres"),
}  # fmt: skip
CHAINS = Vocabulary(
    CHAIN_RELATIONS,
    CHAIN_ATTRIBUTES,
    {
        "person": 100, "city": 40, "region": 16, "country": 8, "company": 50, "university": 20,
        "film": 60, "book": 40, "band": 24, "team": 20, "museum": 16, "river": 14, "award": 12,
    },
    "chains-",
    held_out=False,
)  # fmt: skip
HELD_OUT = replace(CHAINS, name="chains-held-out-", held_out=True)
"""The same worlds in the sentences that are held out: new constructions of known words."""

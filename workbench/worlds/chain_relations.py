"""Relations of people and places in worlds of chains, 24 of 54; `worlds.chain_works` has the rest.

Heads and tails are those of ReasonChainQA's method (§6), the words ours. Four sentences of each,
head first or tail first; the last is held out. A sentence, its names aside, tells its relation.
"""

from workbench.worlds.relations import Relation

PEOPLE_AND_PLACES = {
    "born_in": Relation(
        "person", "city",
        ("{h} was born in {t}.", "{t} is where {h} was born.",
         "The birthplace of {h} is {t}.", "It was in {t} that {h} was born."),
        "the birthplace of {x}", "people born in {x}", asks="was {x} born in {t}",
    ),
    "died_in": Relation(
        "person", "city",
        ("{h} died in {t}.", "{t} is where {h} died.",
         "The place where {h} died is {t}.", "It was in {t} that {h} died."),
        "the place of death of {x}", "people who died in {x}", asks="did {x} die in {t}",
    ),
    "lives_in": Relation(
        "person", "city",
        ("{h} lives in {t}.", "{t} is where {h} lives.",
         "The home of {h} is in {t}.", "It is in {t} that {h} lives."),
        "the home of {x}", "people who live in {x}", asks="does {x} live in {t}",
    ),
    "citizen_of": Relation(
        "person", "country",
        ("{h} is a citizen of {t}.", "{t} counts {h} among its citizens.",
         "{h} holds the passport of {t}.", "{t} gave a passport to {h}."),
        "the country of citizenship of {x}", "citizens of {x}", asks="is {x} a citizen of {t}",
    ),
    "employer": Relation(
        "person", "company",
        ("{h} worked for {t} from {s} until {e}.", "From {s} until {e}, {t} employed {h}.",
         "{t} was the employer of {h} from {s} until {e}.",
         "Between {s} and {e}, {h} earned a living at {t}."),
        "the employer of {x}", "people who worked for {x}", asks="did {x} work for {t}",
    ),
    "studied_at": Relation(
        "person", "university",
        ("{h} studied at {t}.", "{t} lists {h} among its graduates.",
         "{h} took a degree at {t}.", "{t} awarded a degree to {h}."),
        "the alma mater of {x}", "graduates of {x}", asks="did {x} study at {t}",
    ),
    "spouse": Relation(
        "person", "person",
        ("{h} was married to {t} from {s} until {e}.",
         "From {s} until {e}, {h} and {t} were a married couple.",
         "{h} was the spouse of {t} from {s} until {e}.",
         "Between {s} and {e}, {h} shared a marriage with {t}."),
        "the spouse of {x}", asks="was {x} married to {t}", symmetric=True,
    ),
    "mentor": Relation(
        "person", "person",
        ("{h} was trained by {t}.", "{t} is the mentor of {h}.",
         "{t} took {h} as an apprentice.", "{h} learnt the trade from {t}."),
        "the mentor of {x}", "people trained by {x}", asks="was {x} trained by {t}",
    ),
    "sibling": Relation(
        "person", "person",
        ("{h} is a sibling of {t}.", "{h} and {t} have the same parents.",
         "{h} grew up as the sibling of {t}.", "The parents of {h} also raised {t}."),
        "the sibling of {x}", asks="is {x} a sibling of {t}", symmetric=True,
    ),
    "plays_for": Relation(
        "person", "team",
        ("{h} played for {t} from {s} until {e}.", "From {s} until {e}, {t} fielded {h}.",
         "{t} had {h} in its squad from {s} until {e}.",
         "Between {s} and {e}, {h} wore the shirt of {t}."),
        "the club of {x}", "players of {x}", asks="did {x} play for {t}",
    ),
    "member_of": Relation(
        "person", "band",
        ("{h} is a member of {t}.", "{t} has {h} as a member.",
         "{h} makes music with {t}.", "{t} makes music with {h} on stage."),
        "the band of {x}", "members of {x}", asks="is {x} a member of {t}",
    ),
    "received": Relation(
        "person", "award",
        ("{h} received the honour of {t}.", "{t} was given to {h}.",
         "{h} won {t}.", "{t} went to {h}."),
        "the award won by {x}", "people who received {x}", asks="did {x} receive {t}",
    ),
    "in_region": Relation(
        "city", "region",
        ("{h} lies in {t}.", "{t} counts {h} among its cities.",
         "{h} is a city of {t}.", "{t} is the region around {h}."),
        "the region of {x}", "cities of {x}", asks="does {x} lie in {t}",
    ),
    "mayor": Relation(
        "city", "person",
        ("The mayor of {h} is {t}.", "{t} is mayor of {h}.",
         "{h} elected {t} as its mayor.", "{t} sits in the town hall of {h}."),
        "the mayor of {x}", asks="is {t} the mayor of {x}",
    ),
    "twin_city": Relation(
        "city", "city",
        ("{h} is twinned with {t}.", "{h} and {t} are twin cities.",
         "{h} has a twin city, {t}.", "A treaty of friendship makes {h} the twin of {t}."),
        "the twin city of {x}", asks="is {x} twinned with {t}", symmetric=True,
    ),
    "main_river": Relation(
        "city", "river",
        ("{h} stands on the banks of {t}.", "{t} flows through {h}.",
         "The main river of {h} is {t}.", "{t} divides {h} in two."),
        "the main river of {x}", "cities on {x}", asks="does {x} stand on {t}",
    ),
    "in_country": Relation(
        "region", "country",
        ("{h} belongs to {t}.", "{t} includes {h}.",
         "{h} is a region of {t}.", "{t} stretches over {h}."),
        "the country of {x}", "regions of {x}", asks="does {x} belong to {t}",
    ),
    "region_capital": Relation(
        "region", "city",
        ("{h} is administered from {t}.", "{t} is the seat of the council of {h}.",
         "The chief town of {h} is {t}.", "{t} houses the council of {h}."),
        "the chief town of {x}", asks="is {t} the chief town of {x}",
    ),
    "governor": Relation(
        "region", "person",
        ("The governor of {h} is {t}.", "{t} is governor of {h}.",
         "{h} has {t} as its governor.", "{t} governs {h}."),
        "the governor of {x}", asks="is {t} the governor of {x}",
    ),
    "capital": Relation(
        "country", "city",
        ("The capital of {h} is {t}.", "{t} is the capital of {h}.",
         "{h} has its capital in {t}.", "{t} houses the parliament of {h}."),
        "the capital of {x}", asks="is {t} the capital of {x}",
    ),
    "largest_city": Relation(
        "country", "city",
        ("The largest city of {h} is {t}.", "{t} is the largest city of {h}.",
         "{h} has no larger city than {t}.", "{t} outgrew every other city of {h}."),
        "the largest city of {x}", asks="is {t} the largest city of {x}",
    ),
    "head_of_state": Relation(
        "country", "person",
        ("The head of state of {h} is {t}.", "{t} is head of state of {h}.",
         "{h} has {t} as its head of state.", "{t} presides over {h}."),
        "the head of state of {x}", asks="is {t} the head of state of {x}",
    ),
    "neighbour": Relation(
        "country", "country",
        ("{h} borders on {t}.", "{h} and {t} are neighbours.",
         "{h} has a common border with {t}.", "A border separates {h} from {t}."),
        "the neighbour of {x}", asks="does {x} border on {t}", symmetric=True,
    ),
    "national_museum": Relation(
        "country", "museum",
        ("The national museum of {h} is {t}.", "{t} is the national museum of {h}.",
         "{h} keeps its treasures in {t}.", "{t} keeps the treasures of {h}."),
        "the national museum of {x}", asks="is {t} the national museum of {x}",
    ),
}  # fmt: skip

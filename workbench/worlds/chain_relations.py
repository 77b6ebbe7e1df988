"""The 54 relations of worlds in which chains of one to seven facts are followed (ReasonChainQA).

Heads and tails are those of the method (§6), the words ours. Four sentences of each, head first or
tail first; the last is held out: another construction of the words that its relation has already,
so out of template, not out of vocabulary. A sentence, its names aside, tells its relation.
"""

from workbench.worlds.relations import Relation

CHAIN_RELATIONS = {
    "born_in": Relation("person", "city", (
        "{h} was born in {t}.", "{t} is where {h} was born.", "The birthplace of {h} is {t}.",
        "{t} is the birthplace of {h}.",
    ), "the birthplace of {x}", "people born in {x}", asks="was {x} born in {t}"),
    "died_in": Relation("person", "city", (
        "{h} died in {t}.", "{t} is where {h} died.", "The place where {h} died is {t}.",
        "The place of death of {h} is {t}.",
    ), "the place of death of {x}", "people who died in {x}", asks="did {x} die in {t}"),
    "lives_in": Relation("person", "city", (
        "{h} lives in {t}.", "{t} is where {h} lives.", "The home of {h} is in {t}.",
        "{h} has a home in {t}.",
    ), "the home of {x}", "people who live in {x}", asks="does {x} live in {t}"),
    "citizen_of": Relation("person", "country", (
        "{h} is a citizen of {t}.", "{t} counts {h} among its citizens.",
        "{h} holds the passport of {t}.", "Among the citizens of {t} is {h}.",
    ), "the country of citizenship of {x}", "citizens of {x}", asks="is {x} a citizen of {t}"),
    "employer": Relation("person", "company", (
        "{h} worked for {t} from {s} until {e}.", "From {s} until {e}, {t} employed {h}.",
        "{t} was the employer of {h} from {s} until {e}.",
        "{h} was employed by {t} from {s} until {e}.",
    ), "the employer of {x}", "people who worked for {x}", asks="did {x} work for {t}"),
    "studied_at": Relation("person", "university", (
        "{h} studied at {t}.", "{t} lists {h} among its graduates.", "{h} took a degree at {t}.",
        "{t} is where {h} took a degree.",
    ), "the alma mater of {x}", "graduates of {x}", asks="did {x} study at {t}"),
    "spouse": Relation("person", "person", (
        "{h} was married to {t} from {s} until {e}.",
        "From {s} until {e}, {h} and {t} were a married couple.",
        "{h} was the spouse of {t} from {s} until {e}.",
        "{h} and {t} were married from {s} until {e}.",
    ), "the spouse of {x}", asks="was {x} married to {t}", symmetric=True),
    "mentor": Relation("person", "person", (
        "{h} was trained by {t}.", "{t} is the mentor of {h}.", "{t} took {h} as an apprentice.",
        "As an apprentice, {h} was trained by {t}.",
    ), "the mentor of {x}", "people trained by {x}", asks="was {x} trained by {t}"),
    "sibling": Relation("person", "person", (
        "{h} is a sibling of {t}.", "{h} and {t} have the same parents.",
        "{h} grew up as the sibling of {t}.", "{h} has the same parents as {t}.",
    ), "the sibling of {x}", asks="is {x} a sibling of {t}", symmetric=True),
    "plays_for": Relation("person", "team", (
        "{h} played for {t} from {s} until {e}.", "From {s} until {e}, {t} fielded {h}.",
        "{t} had {h} in its squad from {s} until {e}.",
        "From {s} until {e}, {h} was in the squad of {t}.",
    ), "the club of {x}", "players of {x}", asks="did {x} play for {t}"),
    "member_of": Relation("person", "band", (
        "{h} is a member of {t}.", "{t} has {h} as a member.", "{h} makes music with {t}.",
        "As a member of {t}, {h} makes music.",
    ), "the band of {x}", "members of {x}", asks="is {x} a member of {t}"),
    "received": Relation("person", "award", (
        "{h} received the honour of {t}.", "{t} was given to {h}.", "{h} won {t}.",
        "The honour of {t} was given to {h}.",
    ), "the award won by {x}", "people who received {x}", asks="did {x} receive {t}"),
    "in_region": Relation("city", "region", (
        "{h} lies in {t}.", "{t} counts {h} among its cities.", "{h} is a city of {t}.",
        "Among the cities of {t} is {h}.",
    ), "the region of {x}", "cities of {x}", asks="does {x} lie in {t}"),
    "mayor": Relation("city", "person", (
        "The mayor of {h} is {t}.", "{t} is mayor of {h}.", "{h} elected {t} as its mayor.",
        "{t} was elected mayor by {h}.",
    ), "the mayor of {x}", asks="is {t} the mayor of {x}"),
    "twin_city": Relation("city", "city", (
        "{h} is twinned with {t}.", "{h} and {t} are twin cities.", "{h} has a twin city, {t}.",
        "The twin city of {h} is {t}.",
    ), "the twin city of {x}", asks="is {x} twinned with {t}", symmetric=True),
    "main_river": Relation("city", "river", (
        "{h} stands on the banks of {t}.", "{t} flows through {h}.",
        "The main river of {h} is {t}.", "{h} has {t} as its main river.",
    ), "the main river of {x}", "cities on {x}", asks="does {x} stand on {t}"),
    "in_country": Relation("region", "country", (
        "{h} belongs to {t}.", "{t} includes {h}.", "{h} is a region of {t}.",
        "{t} has {h} as a region.",
    ), "the country of {x}", "regions of {x}", asks="does {x} belong to {t}"),
    "region_capital": Relation("region", "city", (
        "{h} is administered from {t}.", "{t} is the seat of the council of {h}.",
        "The chief town of {h} is {t}.", "The council of {h} has its seat in {t}.",
    ), "the chief town of {x}", asks="is {t} the chief town of {x}"),
    "governor": Relation("region", "person", (
        "The governor of {h} is {t}.", "{t} is governor of {h}.", "{h} has {t} as its governor.",
        "As its governor, {h} has {t}.",
    ), "the governor of {x}", asks="is {t} the governor of {x}"),
    "capital": Relation("country", "city", (
        "The capital of {h} is {t}.", "{t} is the capital of {h}.", "{h} has its capital in {t}.",
        "{t} is where {h} has its capital.",
    ), "the capital of {x}", asks="is {t} the capital of {x}"),
    "largest_city": Relation("country", "city", (
        "The largest city of {h} is {t}.", "{t} is the largest city of {h}.",
        "{h} has no larger city than {t}.", "No city of {h} is larger than {t}.",
    ), "the largest city of {x}", asks="is {t} the largest city of {x}"),
    "head_of_state": Relation("country", "person", (
        "The head of state of {h} is {t}.", "{t} is head of state of {h}.",
        "{h} has {t} as its head of state.", "As its head of state, {h} has {t}.",
    ), "the head of state of {x}", asks="is {t} the head of state of {x}"),
    "neighbour": Relation("country", "country", (
        "{h} borders on {t}.", "{h} and {t} are neighbours.", "{h} has a common border with {t}.",
        "{h} and {t} have a common border.",
    ), "the neighbour of {x}", asks="does {x} border on {t}", symmetric=True),
    "national_museum": Relation("country", "museum", (
        "The national museum of {h} is {t}.", "{t} is the national museum of {h}.",
        "{h} keeps its treasures in {t}.",
        "The national museum where {h} keeps its treasures is {t}.",
    ), "the national museum of {x}", asks="is {t} the national museum of {x}"),
    "founded_by": Relation("company", "person", (
        "{h} was founded by {t}.", "{t} founded {h}.", "The founder of {h} is {t}.",
        "{t} is the founder of {h}.",
    ), "the founder of {x}", "companies founded by {x}", asks="was {x} founded by {t}"),
    "chief_executive": Relation("company", "person", (
        "The chief executive of {h} from {s} until {e} was {t}.",
        "From {s} until {e}, {t} was chief executive of {h}.",
        "{h} had {t} as its chief executive from {s} until {e}.",
        "As its chief executive, {h} had {t} from {s} until {e}.",
    ), "the chief executive of {x}", "companies whose chief executive was {x}",
        asks="was {t} the chief executive of {x}"),
    "hq_in": Relation("company", "city", (
        "{h} is based in {t}.", "{t} is the seat of {h}.", "{h} has its head office in {t}.",
        "{t} is where {h} has its head office.",
    ), "the seat of {x}", "companies based in {x}", asks="is {x} based in {t}"),
    "parent_company": Relation("company", "company", (
        "{h} is owned by {t}.", "{t} owns {h}.", "The parent company of {h} is {t}.",
        "{h} has {t} as its parent company.",
    ), "the parent company of {x}", "companies owned by {x}", asks="is {x} owned by {t}"),
    "supplier": Relation("company", "company", (
        "{h} buys its parts from {t}.", "{t} supplies {h}.", "The main supplier of {h} is {t}.",
        "{h} is supplied with parts by {t}.",
    ), "the main supplier of {x}", "companies supplied by {x}", asks="is {x} supplied by {t}"),
    "sponsor_of": Relation("company", "team", (
        "{h} sponsors {t}.", "{t} is sponsored by {h}.", "{h} pays for the shirts of {t}.",
        "Among the sponsors of {t} is {h}.",
    ), "the team sponsored by {x}", "sponsors of {x}", asks="does {x} sponsor {t}"),
    "uni_city": Relation("university", "city", (
        "{h} has its campus in {t}.", "{t} is home to the campus of {h}.",
        "The lecture halls of {h} are in {t}.", "{t} is where the lecture halls of {h} are.",
    ), "the campus city of {x}", "universities in {x}", asks="is the campus of {x} in {t}"),
    "rector": Relation("university", "person", (
        "The rector of {h} is {t}.", "{t} is rector of {h}.", "{h} is led by {t} as its rector.",
        "{h} is led by its rector, {t}.",
    ), "the rector of {x}", asks="is {t} the rector of {x}"),
    "founder": Relation("university", "person", (
        "{h} was endowed by {t}.", "{t} endowed {h}.", "The first endowment of {h} came from {t}.",
        "{h} had its first endowment from {t}.",
    ), "the endower of {x}", "universities endowed by {x}", asks="was {x} endowed by {t}"),
    "partner": Relation("university", "university", (
        "{h} exchanges students with {t}.", "{h} and {t} are partner universities.",
        "{h} is a partner university of {t}.", "{h} has {t} as a partner university.",
    ), "the partner university of {x}", asks="is {x} a partner university of {t}", symmetric=True),
    "directed_by": Relation("film", "person", (
        "{h} was directed by {t}.", "{t} directed {h}.", "The director of {h} is {t}.",
        "{t} is the director of {h}.",
    ), "the director of {x}", "films directed by {x}", asks="was {x} directed by {t}"),
    "lead_actor": Relation("film", "person", (
        "{h} has {t} in the leading role.", "{t} stars in {h}.",
        "The leading role of {h} is played by {t}.", "{h} stars {t} in the leading role.",
    ), "the lead actor of {x}", "films starring {x}", asks="does {x} star {t}"),
    "produced_by": Relation("film", "company", (
        "{h} was produced by {t}.", "{t} produced {h}.", "The producer of {h} is {t}.",
        "{h} has {t} as its producer.",
    ), "the producer of {x}", "films produced by {x}", asks="was {x} produced by {t}"),
    "based_on": Relation("film", "book", (
        "{h} is based on {t}.", "{t} was made into {h}.", "The plot of {h} comes from {t}.",
        "{h} has its plot from {t}.",
    ), "the book behind {x}", "films based on {x}", asks="is {x} based on {t}"),
    "filmed_in": Relation("film", "city", (
        "{h} was filmed in {t}.", "{t} is where {h} was filmed.",
        "The cameras of {h} rolled in {t}.", "{t} is where the cameras of {h} rolled.",
    ), "the filming location of {x}", "films shot in {x}", asks="was {x} filmed in {t}"),
    "soundtrack_by": Relation("film", "band", (
        "{h} has a soundtrack by {t}.", "{t} played the soundtrack of {h}.",
        "The music of {h} is by {t}.", "The soundtrack of {h} was played by {t}.",
    ), "the band behind the soundtrack of {x}", "films with a soundtrack by {x}",
        asks="does {x} have a soundtrack by {t}"),
    "author": Relation("book", "person", (
        "{h} was written by {t}.", "{t} wrote {h}.", "The author of {h} is {t}.",
        "{h} has {t} as its author.",
    ), "the author of {x}", "books written by {x}", asks="was {x} written by {t}"),
    "translator": Relation("book", "person", (
        "{h} was translated by {t}.", "{t} translated {h}.", "The translator of {h} is {t}.",
        "As its translator, {h} has {t}.",
    ), "the translator of {x}", "books translated by {x}", asks="was {x} translated by {t}"),
    "publisher": Relation("book", "company", (
        "{h} was published by {t}.", "{t} published {h}.", "The publisher of {h} is {t}.",
        "{h} has {t} as its publisher.",
    ), "the publisher of {x}", "books published by {x}", asks="was {x} published by {t}"),
    "set_in": Relation("book", "city", (
        "{h} is set in {t}.", "{t} is the setting of {h}.", "The story of {h} takes place in {t}.",
        "{t} is where the story of {h} takes place.",
    ), "the setting of {x}", "books set in {x}", asks="is {x} set in {t}"),
    "formed_in": Relation("band", "city", (
        "{h} got together in {t}.", "{t} is where {h} got together.",
        "The first concert of {h} was in {t}.", "{h} had its first concert in {t}.",
    ), "the city of origin of {x}", "bands from {x}", asks="did {x} get together in {t}"),
    "label": Relation("band", "company", (
        "{h} is under contract with {t}.", "{t} has {h} under contract.",
        "The label of {h} is {t}.", "{h} is under contract with its label, {t}.",
    ), "the label of {x}", "bands under contract with {x}", asks="is {x} under contract with {t}"),
    "lead_singer": Relation("band", "person", (
        "The lead singer of {h} is {t}.", "{t} is lead singer of {h}.",
        "{h} has {t} at the microphone.", "At the microphone of {h} is {t}.",
    ), "the lead singer of {x}", asks="is {t} the lead singer of {x}"),
    "team_city": Relation("team", "city", (
        "{h} plays its home games in {t}.", "{t} is home to the stadium of {h}.",
        "The stadium of {h} is in {t}.", "The stadium where {h} plays its home games is in {t}.",
    ), "the stadium city of {x}", "teams from {x}", asks="is the stadium of {x} in {t}"),
    "coach": Relation("team", "person", (
        "The coach of {h} from {s} until {e} was {t}.", "From {s} until {e}, {t} was coach of {h}.",
        "{h} had {t} as its coach from {s} until {e}.",
        "From {s} until {e}, the coach of {h} was {t}.",
    ), "the coach of {x}", asks="was {t} the coach of {x}"),
    "rival": Relation("team", "team", (
        "{h} has a rivalry with {t}.", "{h} and {t} are rivals.", "{h} is the old rival of {t}.",
        "{h} and {t} have an old rivalry.",
    ), "the rival of {x}", asks="is {x} a rival of {t}", symmetric=True),
    "museum_city": Relation("museum", "city", (
        "{h} opens its doors in {t}.", "{t} is home to the halls of {h}.",
        "The halls of {h} are in {t}.", "{t} is where {h} opens its doors.",
    ), "the home city of {x}", "museums in {x}", asks="are the halls of {x} in {t}"),
    "curator": Relation("museum", "person", (
        "The curator of {h} is {t}.", "{t} is curator of {h}.", "{h} has {t} as its curator.",
        "As its curator, {h} has {t}.",
    ), "the curator of {x}", asks="is {t} the curator of {x}"),
    "mouth_in": Relation("river", "region", (
        "{h} reaches the sea in {t}.", "{t} is where {h} reaches the sea.",
        "The mouth of {h} is in {t}.", "{h} has its mouth in {t}.",
    ), "the region at the mouth of {x}", "rivers whose mouth is in {x}",
        asks="is the mouth of {x} in {t}"),
    "awarded_by": Relation("award", "company", (
        "{h} is awarded by {t}.", "{t} awards {h}.", "The money for {h} comes from {t}.",
        "{h} comes with money from {t}.",
    ), "the giver of {x}", "awards of {x}", asks="is {x} awarded by {t}"),
}  # fmt: skip

"""The 54 relations of worlds in which chains of one to seven facts are followed (ReasonChainQA).

Heads and tails are those of the method (§6), the words ours. Four sentences of each, head first or
tail first; the last is held out. A sentence, its names aside, tells its relation.
"""

from workbench.worlds.relations import Relation

CHAIN_RELATIONS = {
    "born_in": Relation("person", "city", (
        "{h} was born in {t}.", "{t} is where {h} was born.", "The birthplace of {h} is {t}.",
        "It was in {t} that {h} was born.",
    ), "the birthplace of {x}", "people born in {x}", asks="was {x} born in {t}"),
    "died_in": Relation("person", "city", (
        "{h} died in {t}.", "{t} is where {h} died.", "The place where {h} died is {t}.",
        "It was in {t} that {h} died.",
    ), "the place of death of {x}", "people who died in {x}", asks="did {x} die in {t}"),
    "lives_in": Relation("person", "city", (
        "{h} lives in {t}.", "{t} is where {h} lives.", "The home of {h} is in {t}.",
        "It is in {t} that {h} lives.",
    ), "the home of {x}", "people who live in {x}", asks="does {x} live in {t}"),
    "citizen_of": Relation("person", "country", (
        "{h} is a citizen of {t}.", "{t} counts {h} among its citizens.",
        "{h} holds the passport of {t}.", "{t} gave a passport to {h}.",
    ), "the country of citizenship of {x}", "citizens of {x}", asks="is {x} a citizen of {t}"),
    "employer": Relation("person", "company", (
        "{h} worked for {t} from {s} until {e}.", "From {s} until {e}, {t} employed {h}.",
        "{t} was the employer of {h} from {s} until {e}.",
        "Between {s} and {e}, {h} earned a living at {t}.",
    ), "the employer of {x}", "people who worked for {x}", asks="did {x} work for {t}"),
    "studied_at": Relation("person", "university", (
        "{h} studied at {t}.", "{t} lists {h} among its graduates.", "{h} took a degree at {t}.",
        "{t} awarded a degree to {h}.",
    ), "the alma mater of {x}", "graduates of {x}", asks="did {x} study at {t}"),
    "spouse": Relation("person", "person", (
        "{h} was married to {t} from {s} until {e}.",
        "From {s} until {e}, {h} and {t} were a married couple.",
        "{h} was the spouse of {t} from {s} until {e}.",
        "Between {s} and {e}, {h} shared a marriage with {t}.",
    ), "the spouse of {x}", asks="was {x} married to {t}", symmetric=True),
    "mentor": Relation("person", "person", (
        "{h} was trained by {t}.", "{t} is the mentor of {h}.", "{t} took {h} as an apprentice.",
        "{h} learnt the trade from {t}.",
    ), "the mentor of {x}", "people trained by {x}", asks="was {x} trained by {t}"),
    "sibling": Relation("person", "person", (
        "{h} is a sibling of {t}.", "{h} and {t} have the same parents.",
        "{h} grew up as the sibling of {t}.", "The parents of {h} also raised {t}.",
    ), "the sibling of {x}", asks="is {x} a sibling of {t}", symmetric=True),
    "plays_for": Relation("person", "team", (
        "{h} played for {t} from {s} until {e}.", "From {s} until {e}, {t} fielded {h}.",
        "{t} had {h} in its squad from {s} until {e}.",
        "Between {s} and {e}, {h} wore the shirt of {t}.",
    ), "the club of {x}", "players of {x}", asks="did {x} play for {t}"),
    "member_of": Relation("person", "band", (
        "{h} is a member of {t}.", "{t} has {h} as a member.", "{h} makes music with {t}.",
        "{t} makes music with {h} on stage.",
    ), "the band of {x}", "members of {x}", asks="is {x} a member of {t}"),
    "received": Relation("person", "award", (
        "{h} received the honour of {t}.", "{t} was given to {h}.", "{h} won {t}.",
        "{t} went to {h}.",
    ), "the award won by {x}", "people who received {x}", asks="did {x} receive {t}"),
    "in_region": Relation("city", "region", (
        "{h} lies in {t}.", "{t} counts {h} among its cities.", "{h} is a city of {t}.",
        "{t} is the region around {h}.",
    ), "the region of {x}", "cities of {x}", asks="does {x} lie in {t}"),
    "mayor": Relation("city", "person", (
        "The mayor of {h} is {t}.", "{t} is mayor of {h}.", "{h} elected {t} as its mayor.",
        "{t} sits in the town hall of {h}.",
    ), "the mayor of {x}", asks="is {t} the mayor of {x}"),
    "twin_city": Relation("city", "city", (
        "{h} is twinned with {t}.", "{h} and {t} are twin cities.", "{h} has a twin city, {t}.",
        "A treaty of friendship makes {h} the twin of {t}.",
    ), "the twin city of {x}", asks="is {x} twinned with {t}", symmetric=True),
    "main_river": Relation("city", "river", (
        "{h} stands on the banks of {t}.", "{t} flows through {h}.",
        "The main river of {h} is {t}.", "{t} divides {h} in two.",
    ), "the main river of {x}", "cities on {x}", asks="does {x} stand on {t}"),
    "in_country": Relation("region", "country", (
        "{h} belongs to {t}.", "{t} includes {h}.", "{h} is a region of {t}.",
        "{t} stretches over {h}.",
    ), "the country of {x}", "regions of {x}", asks="does {x} belong to {t}"),
    "region_capital": Relation("region", "city", (
        "{h} is administered from {t}.", "{t} is the seat of the council of {h}.",
        "The chief town of {h} is {t}.", "{t} houses the council of {h}.",
    ), "the chief town of {x}", asks="is {t} the chief town of {x}"),
    "governor": Relation("region", "person", (
        "The governor of {h} is {t}.", "{t} is governor of {h}.", "{h} has {t} as its governor.",
        "{t} governs {h}.",
    ), "the governor of {x}", asks="is {t} the governor of {x}"),
    "capital": Relation("country", "city", (
        "The capital of {h} is {t}.", "{t} is the capital of {h}.", "{h} has its capital in {t}.",
        "{t} houses the parliament of {h}.",
    ), "the capital of {x}", asks="is {t} the capital of {x}"),
    "largest_city": Relation("country", "city", (
        "The largest city of {h} is {t}.", "{t} is the largest city of {h}.",
        "{h} has no larger city than {t}.", "{t} outgrew every other city of {h}.",
    ), "the largest city of {x}", asks="is {t} the largest city of {x}"),
    "head_of_state": Relation("country", "person", (
        "The head of state of {h} is {t}.", "{t} is head of state of {h}.",
        "{h} has {t} as its head of state.", "{t} presides over {h}.",
    ), "the head of state of {x}", asks="is {t} the head of state of {x}"),
    "neighbour": Relation("country", "country", (
        "{h} borders on {t}.", "{h} and {t} are neighbours.", "{h} has a common border with {t}.",
        "A border separates {h} from {t}.",
    ), "the neighbour of {x}", asks="does {x} border on {t}", symmetric=True),
    "national_museum": Relation("country", "museum", (
        "The national museum of {h} is {t}.", "{t} is the national museum of {h}.",
        "{h} keeps its treasures in {t}.", "{t} keeps the treasures of {h}.",
    ), "the national museum of {x}", asks="is {t} the national museum of {x}"),
    "founded_by": Relation("company", "person", (
        "{h} was founded by {t}.", "{t} founded {h}.", "The founder of {h} is {t}.",
        "{t} set up {h} as a business.",
    ), "the founder of {x}", "companies founded by {x}", asks="was {x} founded by {t}"),
    "chief_executive": Relation("company", "person", (
        "The chief executive of {h} from {s} until {e} was {t}.",
        "From {s} until {e}, {t} was chief executive of {h}.",
        "{h} had {t} as its chief executive from {s} until {e}.",
        "Between {s} and {e}, {t} ran the business of {h}.",
    ), "the chief executive of {x}", "companies whose chief executive was {x}",
        asks="was {t} the chief executive of {x}"),
    "hq_in": Relation("company", "city", (
        "{h} is based in {t}.", "{t} is the seat of {h}.", "{h} has its head office in {t}.",
        "{t} houses the head office of {h}.",
    ), "the seat of {x}", "companies based in {x}", asks="is {x} based in {t}"),
    "parent_company": Relation("company", "company", (
        "{h} is owned by {t}.", "{t} owns {h}.", "The parent company of {h} is {t}.",
        "{t} holds every share of {h}.",
    ), "the parent company of {x}", "companies owned by {x}", asks="is {x} owned by {t}"),
    "supplier": Relation("company", "company", (
        "{h} buys its parts from {t}.", "{t} supplies {h}.", "The main supplier of {h} is {t}.",
        "{t} delivers parts to {h}.",
    ), "the main supplier of {x}", "companies supplied by {x}", asks="is {x} supplied by {t}"),
    "sponsor_of": Relation("company", "team", (
        "{h} sponsors {t}.", "{t} is sponsored by {h}.", "{h} pays for the shirts of {t}.",
        "{t} plays with money from {h}.",
    ), "the team sponsored by {x}", "sponsors of {x}", asks="does {x} sponsor {t}"),
    "uni_city": Relation("university", "city", (
        "{h} has its campus in {t}.", "{t} is home to the campus of {h}.",
        "The lecture halls of {h} are in {t}.", "{t} houses the lecture halls of {h}.",
    ), "the campus city of {x}", "universities in {x}", asks="is the campus of {x} in {t}"),
    "rector": Relation("university", "person", (
        "The rector of {h} is {t}.", "{t} is rector of {h}.", "{h} is led by {t} as its rector.",
        "{t} heads the senate of {h}.",
    ), "the rector of {x}", asks="is {t} the rector of {x}"),
    "founder": Relation("university", "person", (
        "{h} was endowed by {t}.", "{t} endowed {h}.", "The first endowment of {h} came from {t}.",
        "{t} paid for the first lectures of {h}.",
    ), "the endower of {x}", "universities endowed by {x}", asks="was {x} endowed by {t}"),
    "partner": Relation("university", "university", (
        "{h} exchanges students with {t}.", "{h} and {t} are partner universities.",
        "{h} is a partner university of {t}.", "A treaty of exchange links {h} with {t}.",
    ), "the partner university of {x}", asks="is {x} a partner university of {t}", symmetric=True),
    "directed_by": Relation("film", "person", (
        "{h} was directed by {t}.", "{t} directed {h}.", "The director of {h} is {t}.",
        "{t} shouted action on the set of {h}.",
    ), "the director of {x}", "films directed by {x}", asks="was {x} directed by {t}"),
    "lead_actor": Relation("film", "person", (
        "{h} has {t} in the leading role.", "{t} stars in {h}.",
        "The leading role of {h} is played by {t}.", "{t} is the first name in the cast of {h}.",
    ), "the lead actor of {x}", "films starring {x}", asks="does {x} star {t}"),
    "produced_by": Relation("film", "company", (
        "{h} was produced by {t}.", "{t} produced {h}.", "The producer of {h} is {t}.",
        "{t} brought {h} to the screen.",
    ), "the producer of {x}", "films produced by {x}", asks="was {x} produced by {t}"),
    "based_on": Relation("film", "book", (
        "{h} is based on {t}.", "{t} was made into {h}.", "The plot of {h} comes from {t}.",
        "{t} gave its plot to {h}.",
    ), "the book behind {x}", "films based on {x}", asks="is {x} based on {t}"),
    "filmed_in": Relation("film", "city", (
        "{h} was filmed in {t}.", "{t} is where {h} was filmed.",
        "The cameras of {h} rolled in {t}.", "{t} let the cameras of {h} in.",
    ), "the filming location of {x}", "films shot in {x}", asks="was {x} filmed in {t}"),
    "soundtrack_by": Relation("film", "band", (
        "{h} has a soundtrack by {t}.", "{t} played the soundtrack of {h}.",
        "The music of {h} is by {t}.", "{t} recorded the music of {h}.",
    ), "the band behind the soundtrack of {x}", "films with a soundtrack by {x}",
        asks="does {x} have a soundtrack by {t}"),
    "author": Relation("book", "person", (
        "{h} was written by {t}.", "{t} wrote {h}.", "The author of {h} is {t}.",
        "{t} put {h} on paper.",
    ), "the author of {x}", "books written by {x}", asks="was {x} written by {t}"),
    "translator": Relation("book", "person", (
        "{h} was translated by {t}.", "{t} translated {h}.", "The translator of {h} is {t}.",
        "{t} put {h} into another language.",
    ), "the translator of {x}", "books translated by {x}", asks="was {x} translated by {t}"),
    "publisher": Relation("book", "company", (
        "{h} was published by {t}.", "{t} published {h}.", "The publisher of {h} is {t}.",
        "{t} printed {h} and sold it.",
    ), "the publisher of {x}", "books published by {x}", asks="was {x} published by {t}"),
    "set_in": Relation("book", "city", (
        "{h} is set in {t}.", "{t} is the setting of {h}.", "The story of {h} takes place in {t}.",
        "{t} is the scene of the story of {h}.",
    ), "the setting of {x}", "books set in {x}", asks="is {x} set in {t}"),
    "formed_in": Relation("band", "city", (
        "{h} got together in {t}.", "{t} is where {h} got together.",
        "The first concert of {h} was in {t}.", "{t} heard the first concert of {h}.",
    ), "the city of origin of {x}", "bands from {x}", asks="did {x} get together in {t}"),
    "label": Relation("band", "company", (
        "{h} is under contract with {t}.", "{t} has {h} under contract.",
        "The label of {h} is {t}.", "{t} sells the records of {h}.",
    ), "the label of {x}", "bands under contract with {x}", asks="is {x} under contract with {t}"),
    "lead_singer": Relation("band", "person", (
        "The lead singer of {h} is {t}.", "{t} is lead singer of {h}.",
        "{h} has {t} at the microphone.", "{t} sings the songs of {h}.",
    ), "the lead singer of {x}", asks="is {t} the lead singer of {x}"),
    "team_city": Relation("team", "city", (
        "{h} plays its home games in {t}.", "{t} is home to the stadium of {h}.",
        "The stadium of {h} is in {t}.", "{t} fills the stadium of {h}.",
    ), "the stadium city of {x}", "teams from {x}", asks="is the stadium of {x} in {t}"),
    "coach": Relation("team", "person", (
        "The coach of {h} from {s} until {e} was {t}.", "From {s} until {e}, {t} was coach of {h}.",
        "{h} had {t} as its coach from {s} until {e}.",
        "Between {s} and {e}, {t} picked the players of {h}.",
    ), "the coach of {x}", asks="was {t} the coach of {x}"),
    "rival": Relation("team", "team", (
        "{h} has a rivalry with {t}.", "{h} and {t} are rivals.", "{h} is the old rival of {t}.",
        "An old feud divides {h} and {t}.",
    ), "the rival of {x}", asks="is {x} a rival of {t}", symmetric=True),
    "museum_city": Relation("museum", "city", (
        "{h} opens its doors in {t}.", "{t} is home to the halls of {h}.",
        "The halls of {h} are in {t}.", "{t} draws visitors with {h}.",
    ), "the home city of {x}", "museums in {x}", asks="are the halls of {x} in {t}"),
    "curator": Relation("museum", "person", (
        "The curator of {h} is {t}.", "{t} is curator of {h}.", "{h} has {t} as its curator.",
        "{t} hangs the pictures of {h}.",
    ), "the curator of {x}", asks="is {t} the curator of {x}"),
    "mouth_in": Relation("river", "region", (
        "{h} reaches the sea in {t}.", "{t} is where {h} reaches the sea.",
        "The mouth of {h} is in {t}.", "{t} contains the mouth of {h}.",
    ), "the region at the mouth of {x}", "rivers whose mouth is in {x}",
        asks="is the mouth of {x} in {t}"),
    "awarded_by": Relation("award", "company", (
        "{h} is awarded by {t}.", "{t} awards {h}.", "The money for {h} comes from {t}.",
        "{t} pays the money for {h}.",
    ), "the giver of {x}", "awards of {x}", asks="is {x} awarded by {t}"),
}  # fmt: skip

"""Worlds of facts: what a text says is what the world knows, and no split knows another's names."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from workbench.worlds.facts import World
from workbench.worlds.names import ADJECTIVES, NOUNS, SPLITS, SYLLABLES
from workbench.worlds.relations import ATTRIBUTES, RELATIONS


@pytest.fixture(scope="module")
def world():
    return World("test", 3)


def forms(relation):
    """Regular expressions of its sentences, each with the names of its parts."""
    sentences = (RELATIONS | ATTRIBUTES)[relation].sentences
    parts = {r"\{h\}": "(?P<h>.+)", r"\{t\}": "(?P<t>.+)", r"\{v\}": r"(?P<v>\d+)"}
    for sentence in sentences:
        pattern = re.escape(sentence)
        for part, group in parts.items():
            pattern = pattern.replace(part.replace("\\{", r"\{").replace("\\}", r"\}"), group)
        yield pattern


def test_every_fact_is_read_back_from_its_text_alone(world):
    names = set(world.kinds)
    for fact in world.facts:
        readings = set()
        for relation in RELATIONS | ATTRIBUTES:
            for pattern in forms(relation):
                if match := re.fullmatch(pattern, fact.text):
                    groups = match.groupdict()
                    tail = groups.get("t") or int(groups["v"])
                    if groups["h"] in names and (isinstance(tail, int) or tail in names):
                        readings.add((relation, groups["h"], tail))
        assert readings == {(fact.relation, fact.head, fact.tail)}, fact.text


def test_what_a_world_keeps_is_what_its_facts_say(world):
    assert 600 < len(world.facts) < 800
    assert len({fact.text for fact in world.facts}) == len(world.facts)
    for place, fact in enumerate(world.facts):
        assert world.forward[fact.relation, fact.head] == place
        if isinstance(fact.tail, str):
            assert place in world.backward[fact.relation, fact.tail]
            assert world.kinds[fact.tail] == RELATIONS[fact.relation].tail
            assert fact.tail != fact.head
        else:
            attribute = ATTRIBUTES[fact.relation]
            assert attribute.least <= fact.tail <= attribute.most
    assert len(world.forward) == len(world.facts) == sum(map(len, world.of.values()))
    assert sum(map(len, world.backward.values())) == sum(
        isinstance(fact.tail, str) for fact in world.facts
    )


@pytest.mark.parametrize("size", [1.0, 5.0])
def test_splits_share_no_name_of_any_kind(size):
    worlds = {split: [World(split, i, size) for i in range(3)] for split in SPLITS}
    for kind in worlds["train"][0].members:
        names = {
            split: {name for world in of_split for name in world.members[kind]}
            for split, of_split in worlds.items()
        }
        for split in SPLITS:
            members = worlds[split][0].members[kind]
            assert len(members) == len({*members})
        train, dev, test = names.values()
        assert not train & dev | train & test | dev & test, kind
    people = {
        split: {part for world in of_split for name in world.members["person"]
                for part in name.split()}
        for split, of_split in worlds.items()
    }  # fmt: skip
    assert not people["train"] & people["test"]


def test_no_syllable_begins_another():
    """So that the first one of a word, which tells its split, can be read off it."""
    assert len({*SYLLABLES}) == len(SYLLABLES)
    for a in SYLLABLES:
        assert not [b for b in SYLLABLES if b != a and b.startswith(a)], a
    assert len({*ADJECTIVES}) == len(ADJECTIVES)
    assert len({*NOUNS}) == len(NOUNS)


def test_worlds_are_the_same_whatever_the_hash_seed(tmp_path):
    script = (
        "from workbench.worlds.pools import questions\n"
        "from workbench.retrieval.evidence_files import write_evidence\n"
        "import sys\nwrite_evidence(sys.argv[1], questions('dev', 60))\n"
    )
    contents = set()
    for seed in ("0", "1", "77"):
        place = tmp_path / f"{seed}.jsonl"
        env = {**os.environ, "PYTHONHASHSEED": seed,
               "PYTHONPATH": os.pathsep.join(sys.path)}  # fmt: skip
        subprocess.run([sys.executable, "-c", script, str(place)], check=True, env=env)
        contents.add(Path(place).read_bytes())
    assert len(contents) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("valid", 1), "split"),
        (("test", -1), "number"),
        (("test", 1, 0), "size"),
        (("test", 1, float("nan")), "size"),
    ],
)
def test_what_is_no_world_is_refused(arguments, said):
    with pytest.raises(ValueError, match=said):
        World(*arguments)

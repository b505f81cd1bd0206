"""Search by words, in the database's own index."""

from __future__ import annotations

from importlib import import_module

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blocks import actions
from blocks.models import Memory
from blocks.search import MAX_QUERY, MAX_WORDS, matching, words_of
from memoryhub.models import Project

pytestmark = pytest.mark.django_db
on_sqlite = pytest.mark.skipif("connection.vendor != 'sqlite'")


def make(project: Project, title: str = "x", **state: object) -> Memory:
    return actions.create(project, {"title": title, **state}, user=None)


def found(query: str) -> list[str]:
    return sorted(matching(Memory.objects.all(), query).values_list("title", flat=True))


@pytest.fixture
def memories(project: Project) -> None:
    make(project, "Deployment checklist", text="First migrate, then parser.on('error')", tags=["Ärger", "ops"])
    make(project, "Cache", text="The CACHE key has no project", description="stale entries", label="cache-key")
    make(project, "Paths", text="see src/app/models.py and the rest: 50% of_it", tags=["py"])


@pytest.mark.usefixtures("memories")
@pytest.mark.parametrize(
    ("query", "titles"),
    [
        ("", ["Cache", "Deployment checklist", "Paths"]),
        ("cache", ["Cache"]),
        ("MIGRATE", ["Deployment checklist"]),
        ("stale project", ["Cache"]),
        ("stale migrate", []),
        ("parser.on", ["Deployment checklist"]),
        ("parser.off", []),
        ("app/models.py", ["Paths"]),
        ("models.p", ["Paths"]),
        ('"then parser"', ["Deployment checklist"]),
        ('"parser then"', []),
        ("then parser", ["Deployment checklist"]),
        ("ploym", ["Deployment checklist"]),
        ("cache-k", ["Cache"]),
        ("Ärger", ["Deployment checklist"]),
        ("migr", ["Deployment checklist"]),
        ("op", ["Deployment checklist"]),
        ("at", ["Paths"]),
        ("migrate on", ["Deployment checklist"]),
        ("migrate of", []),
        ("%", []),
        ("a_h", []),
        ("nothing-like-it", []),
    ],
)
def test_finds(query: str, titles: list[str]) -> None:
    assert found(query) == titles


@on_sqlite
@pytest.mark.usefixtures("memories")
@pytest.mark.parametrize(
    ("query", "title"), [("odels.p", "Paths"), ("igrat", "Deployment checklist"), ("50%", "Paths")]
)
def test_finds_any_part_of_a_word_in_a_text(query: str, title: str) -> None:
    assert found(query) == [title]


def test_keeps_to_the_queryset(project: Project) -> None:
    other = Project.objects.create(slug="other", name="Other")
    make(project, "same words")
    mine = make(other, "same words")
    assert list(matching(Memory.objects.filter(project=other), "words")) == [mine]


def test_follows_every_kind_of_write(project: Project) -> None:
    memory = make(project, "a", text="before", tags=["red"])
    actions.edit(memory, {"text": "after", "tags": ["blue"]}, user=None, based_on=1)
    assert (found("before"), found("after"), found("red"), found("blue")) == ([], ["a"], [], ["a"])
    memory.refresh_from_db()
    memory.text = "in bulk"
    Memory.objects.bulk_update([memory], ["text"])
    assert (found("after"), found("bulk")) == ([], ["a"])
    Memory.objects.update(description="described")
    assert found("described") == ["a"]
    Memory.objects.all().delete()
    assert found("bulk") == []
    copy = Memory(project=project, label="b", title="b", text="bulk", hash="x")
    Memory.objects.bulk_create([copy])
    assert found("bulk") == ["b"]


@on_sqlite
def test_index_is_sound_after_many_writes(project: Project) -> None:
    for number in range(20):
        memory = make(project, f"number {number}", text="words " * number, tags=[f"t{number}", "ä"])
        actions.edit(memory, {"text": "others", "tags": ["ü"]}, user=None, based_on=1)
    Memory.objects.filter(pk__lt=memory.pk).delete()
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO blocks_search(blocks_search) VALUES ('integrity-check')")
        cursor.execute("SELECT COUNT(*) FROM blocks_search WHERE blocks_search MATCH 'words'")
        assert cursor.fetchone() == (0,)
        cursor.execute("SELECT tag, memory_id FROM blocks_tag")
        assert cursor.fetchall() == [("ü", memory.pk)]


@on_sqlite
def test_triggers_survive_all_migrations() -> None:
    """Where this fails a migration after 0002 remade the table: end it with `lookup_tables()` of 0002_search."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT name FROM sqlite_master WHERE tbl_name = 'blocks_memory' AND type IN ('trigger', 'index')"
        )
        names = {name for (name,) in cursor.fetchall()}
    assert names >= {
        f"blocks_memory_{name}" for name in ("added", "removed", "reworded", "retagged", "counts", "names")
    }


@pytest.mark.django_db(transaction=True)
def test_search_tables_can_be_taken_away_and_made_again(project: Project) -> None:
    make(project, "kept", text="these words", tags=["tagged"])
    migration = import_module("blocks.migrations.0002_search")
    with connection.schema_editor() as editor:
        migration.remove(None, editor)
    make(project, "meanwhile", text="these words")
    with connection.schema_editor() as editor:
        migration.install(None, editor)
    assert found("these words") == ["kept", "meanwhile"]


def test_takes_any_text(project: Project) -> None:
    """PostgreSQL refuses more than 1 MB of distinct words in one row; words of one wide character are the worst."""
    wide = " ".join(chr(code) for code in range(0x20000, 0x20000 + 150_000) if chr(code).isprintable())
    make(
        project,
        "wide",
        text=wide,
        description=wide,
        tags=sorted({wide[n : n + 100].strip() for n in range(0, 20_000, 100)}),
    )
    make(project, "long", text="word" * 500_000)
    assert found("wide") == ["wide"]


@given(
    query=st.text(st.characters(exclude_categories=[]), max_size=60)
    | st.text(alphabet="\"'\\*:-^(){}%_&|!<> aABNOTRE\0", max_size=30)
)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_never_raises(memories: None, query: str) -> None:
    assert len(found(query)) <= 3


def test_words() -> None:
    assert words_of('say "two words" two say') == ["say", "two words", "two"]
    assert words_of(' "" " ') == []
    assert words_of('un"closed') == ["un", "closed"]
    assert len(words_of("word " * 500)) == 1
    assert len(" ".join(words_of("x" * 500))) == MAX_QUERY
    assert len(words_of(" ".join(f"w{n}" for n in range(90)))) == MAX_WORDS

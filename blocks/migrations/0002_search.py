"""What search and the main page look up, kept up to date by triggers so that bulk writes are covered too.

SQLite: `blocks_search` (FTS5, trigrams), `blocks_tag` (one row a tag of a memory) and indexes that cover the counts and
the titles and labels.
PostgreSQL: a column `search_words` that Django does not know, and indexes over it and over the tags.

On SQLite a later migration that makes Django remake `blocks_memory` (AlterField, AddField with a default) drops the
triggers and the index: it has to end with the operation `lookup_tables()` of this module. A test says so if it is
forgotten.

Only the beginning of very long fields is indexed: PostgreSQL takes at most 1 MB of words of one row (at 4 bytes a
character, the worst case, the limits below stay under it), and a block of 20 MB should not take 20 seconds to save.
"""

from django.db import migrations

TITLE, LABEL, DESCRIPTION, TEXT = 2_000, 2_000, 20_000, 200_000  # characters

# --- SQLite ---------------------------------------------------------------------------------------------


def fields(row):
    """The values of the columns of `blocks_search` for the row `new` or `old` of a trigger. Tags come decoded."""
    return f"""
        substr({row}.title, 1, {TITLE}), substr({row}.label, 1, {LABEL}), substr({row}.description, 1, {DESCRIPTION}),
        (SELECT group_concat(value, char(10)) FROM json_each({row}.tags)), substr({row}.text, 1, {TEXT})"""


COLUMNS = "rowid, title, label, description, tags, text"
ADD_WORDS = f"INSERT INTO blocks_search({COLUMNS}) VALUES (new.id, {fields('new')});"
DROP_WORDS = f"INSERT INTO blocks_search(blocks_search, {COLUMNS}) VALUES ('delete', old.id, {fields('old')});"
SHOWN = "iif({row}.deleted_at IS NOT NULL, 'deleted', iif({row}.archived_at IS NOT NULL, 'archived', 'live'))"
ADD_TAGS = f"""
    INSERT OR IGNORE INTO blocks_tag(project_id, shown, tag, memory_id)
    SELECT new.project_id, {SHOWN.format(row="new")}, value, new.id FROM json_each(new.tags);"""
DROP_TAGS = f"""
    DELETE FROM blocks_tag WHERE project_id = old.project_id AND shown = {SHOWN.format(row="old")}
    AND memory_id = old.id AND tag IN (SELECT value FROM json_each(old.tags));"""

SQLITE = [
    "DROP TABLE IF EXISTS blocks_search",
    """CREATE VIRTUAL TABLE blocks_search USING fts5(
        title, label, description, tags, text, content='', columnsize=0, tokenize='trigram')""",
    "DROP TABLE IF EXISTS blocks_tag",
    """CREATE TABLE blocks_tag (
        project_id INTEGER NOT NULL, shown TEXT NOT NULL, tag TEXT NOT NULL, memory_id INTEGER NOT NULL,
        PRIMARY KEY (project_id, shown, tag, memory_id)) WITHOUT ROWID""",
    f"INSERT INTO blocks_search({COLUMNS}) SELECT new.id, {fields('new')} FROM blocks_memory new",
    f"""INSERT OR IGNORE INTO blocks_tag(project_id, shown, tag, memory_id)
        SELECT m.project_id, {SHOWN.format(row="m")}, value, m.id FROM blocks_memory m, json_each(m.tags)""",
    "DROP INDEX IF EXISTS blocks_memory_counts",
    """CREATE INDEX blocks_memory_counts
        ON blocks_memory(project_id, deleted_at, archived_at, kind, source, sync_state)""",
    "DROP INDEX IF EXISTS blocks_memory_names",
    "CREATE INDEX blocks_memory_names ON blocks_memory(project_id, title, label)",
    "DROP TRIGGER IF EXISTS blocks_memory_added",
    f"""CREATE TRIGGER blocks_memory_added AFTER INSERT ON blocks_memory BEGIN
        {ADD_WORDS} {ADD_TAGS} END""",
    "DROP TRIGGER IF EXISTS blocks_memory_removed",
    f"""CREATE TRIGGER blocks_memory_removed AFTER DELETE ON blocks_memory BEGIN
        {DROP_WORDS} {DROP_TAGS} END""",
    "DROP TRIGGER IF EXISTS blocks_memory_reworded",
    f"""CREATE TRIGGER blocks_memory_reworded AFTER UPDATE OF title, label, description, tags, text ON blocks_memory
        WHEN (old.title, old.label, old.description, old.tags, old.text)
        IS NOT (new.title, new.label, new.description, new.tags, new.text) BEGIN
        {DROP_WORDS} {ADD_WORDS} END""",
    "DROP TRIGGER IF EXISTS blocks_memory_retagged",
    f"""CREATE TRIGGER blocks_memory_retagged AFTER UPDATE OF tags, project_id, archived_at, deleted_at
        ON blocks_memory
        WHEN (old.tags, old.project_id, old.archived_at, old.deleted_at)
        IS NOT (new.tags, new.project_id, new.archived_at, new.deleted_at) BEGIN
        {DROP_TAGS} {ADD_TAGS} END""",
]
UNDO_SQLITE = [
    *[f"DROP TRIGGER IF EXISTS blocks_memory_{name}" for name in ("added", "removed", "reworded", "retagged")],
    *[f"DROP INDEX IF EXISTS blocks_memory_{name}" for name in ("counts", "names")],
    "DROP TABLE IF EXISTS blocks_tag",
    "DROP TABLE IF EXISTS blocks_search",
]

# --- PostgreSQL -----------------------------------------------------------------------------------------

# Punctuation becomes space, so that `parser.on` and `a/b.py` are found by any of their parts (and, in a row, as a
# phrase); PostgreSQL's own parser would make one word of each. `blocks.search` does the same to what is looked for.
POSTGRESQL = [
    "ALTER TABLE blocks_memory ADD COLUMN IF NOT EXISTS search_words tsvector",
    rf"""CREATE OR REPLACE FUNCTION blocks_memory_words() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        NEW.search_words := to_tsvector('simple', translate(
            concat_ws(E'\n', left(NEW.title, {TITLE}), left(NEW.label, {LABEL}), left(NEW.description, {DESCRIPTION}),
                (SELECT left(string_agg(tag, E'\n'), {DESCRIPTION}) FROM jsonb_array_elements_text(NEW.tags) tag),
                left(NEW.text, {TEXT})),
            E'!"#$%&''()*+,-./:;<=>?@[\\]^_`{{|}}~', repeat(' ', 32)));
        RETURN NEW;
    END $$""",
    """CREATE OR REPLACE TRIGGER blocks_memory_reworded
        BEFORE INSERT OR UPDATE OF title, label, description, tags, text ON blocks_memory
        FOR EACH ROW EXECUTE FUNCTION blocks_memory_words()""",
    "UPDATE blocks_memory SET title = title",
    "CREATE INDEX IF NOT EXISTS blocks_memory_search ON blocks_memory USING gin (search_words)",
    "CREATE INDEX IF NOT EXISTS blocks_memory_tags ON blocks_memory USING gin (tags jsonb_path_ops)",
]
UNDO_POSTGRESQL = [
    "DROP INDEX IF EXISTS blocks_memory_tags",
    "DROP INDEX IF EXISTS blocks_memory_search",
    "DROP TRIGGER IF EXISTS blocks_memory_reworded ON blocks_memory",
    "DROP FUNCTION IF EXISTS blocks_memory_words()",
    "ALTER TABLE blocks_memory DROP COLUMN IF EXISTS search_words",
]


def install(apps, schema_editor):
    run(schema_editor, {"sqlite": SQLITE, "postgresql": POSTGRESQL})


def remove(apps, schema_editor):
    run(schema_editor, {"sqlite": UNDO_SQLITE, "postgresql": UNDO_POSTGRESQL})


def run(schema_editor, statements):
    with schema_editor.connection.cursor() as cursor:
        for statement in statements[schema_editor.connection.vendor]:
            cursor.execute(statement)


def lookup_tables():
    return migrations.RunPython(install, remove)


class Migration(migrations.Migration):
    dependencies = [("blocks", "0001_initial")]
    operations = [lookup_tables()]

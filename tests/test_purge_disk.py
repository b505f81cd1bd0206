"""After a purge nothing is left in the bytes of the SQLite files: not in free pages, the log, or the search index."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from memoryhub.settings import BASE_DIR

SCRIPT = """
import os, random, sys, zlib
import django
django.setup()
from django.core.management import call_command
from django.db import connection
call_command("migrate", verbosity=0)
from django.conf import settings
from django.contrib.auth.models import User
from blocks import actions
from blocks.models import Memory, Text
from blocks.purge import Secret
from memoryhub.models import Project
from syncjobs import purge

SECRET = "Zq7Vxk9Jw4"
folder = os.path.dirname(settings.DATABASES["default"]["NAME"])
random.seed(3)
words = ["".join(random.choices("abcdefghilmnoprstu", k=6)) for _ in range(3000)]

def text(extra=""):
    return " ".join(random.choices(words, k=300)) + extra + " ".join(random.choices(words, k=300))

def bytes_there(*wanted):
    found = set()
    for name in os.listdir(folder):
        with open(os.path.join(folder, name), "rb") as file:
            content = file.read()
        found |= {(name, piece) for piece in wanted if piece in content}
    return found

olga = User.objects.create_user("olga")
project = Project.objects.create(slug="planner", name="Planner")
others = [actions.create(project, {"text": text(), "title": f"Other {n}"}, user=olga) for n in range(150)]
memory = actions.create(project, {"text": text(f" {SECRET} "), "title": "It"}, user=olga)
for n in range(30):  # so that its words lie in old segments of the index, and its pages in free ones
    memory = actions.edit(memory, {"text": text(f" {SECRET} {n}")}, user=olga, based_on=memory.number)
    others[n] = actions.edit(others[n], {"text": text()}, user=olga, based_on=others[n].number)
memory = actions.edit(memory, {"description": f"is {SECRET}"}, user=olga, based_on=memory.number)
texts = Text.objects.values_list("data", flat=True)
blobs = [bytes(data)[40:100] for data in texts if SECRET.encode() in zlib.decompress(data)]
assert len(blobs) == 31
wanted = [SECRET.encode(), SECRET.lower().encode(), b"zq7", b"q7v", b"xk9", *blobs]
assert len({piece for _, piece in bytes_there(*wanted)}) > 20
(row,) = purge.erase_text([memory], Secret(SECRET), user=olga)
assert row.done_at, row.waits
left = bytes_there(*wanted)
assert not left, left
assert not Memory.objects.filter(text__contains=SECRET).exists()
"""


def test_nothing_is_left_in_the_files(tmp_path: Path) -> None:
    clean = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    settings = {
        "DJANGO_SETTINGS_MODULE": "memoryhub.settings",
        "MEMORYHUB_DATA": str(tmp_path),
        "MEMORYHUB_ENV_FILE": os.devnull,
        "SECRET_KEY": "only-for-tests",
        "FIELD_KEYS": "0123456789012345678901234567890123456789012=",
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=clean | settings, cwd=BASE_DIR, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr

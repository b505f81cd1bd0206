"""Settings of the tests: those of the product, whatever this machine's `.env` says, and faster.

DATABASE_URL is taken over, so that the same tests run on PostgreSQL.
"""

import atexit
import os
import shutil
import tempfile

_folder = tempfile.mkdtemp(prefix="memoryhub-tests-")
atexit.register(shutil.rmtree, _folder, ignore_errors=True)
_database = os.environ.get("DATABASE_URL", "")
os.environ |= {
    "MEMORYHUB_ENV_FILE": os.devnull,
    "MEMORYHUB_DATA": _folder,
    "SECRET_KEY": "only-for-tests",
    "FIELD_KEYS": "0123456789012345678901234567890123456789012=",
}
for _name in ("DEBUG", "HTTPS", "PORT", "CHROMA_PATH", "CHROMA_PORT", "CHROMA_URL", "EMAIL_URL", "ALLOWED_HOSTS"):
    os.environ.pop(_name, None)

from memoryhub.settings import *  # noqa: E402, F403
from memoryhub.settings import DATABASES, SQLITE, STATIC_ROOT, STORAGES  # noqa: E402

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
# Without `collectstatic` there is no manifest.
STORAGES = {**STORAGES, "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}
STATIC_ROOT.mkdir()
# No query without an order may be relied on for one: PostgreSQL gives its rows as they happen to lie.
if DATABASES["default"]["ENGINE"] == SQLITE:
    DATABASES["default"]["OPTIONS"]["init_command"] += "PRAGMA reverse_unordered_selects=ON;"

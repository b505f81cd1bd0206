"""All configuration, and the only reader of the environment (and of `.env`).

Every setting is documented in `.env.example`. A wrong value stops the start with a sentence.
"""

import os
from pathlib import Path

from csp.constants import NONE, SELF

from memoryhub.environment import SQLITE, Environment

BASE_DIR = Path(__file__).resolve().parent.parent
env = Environment(BASE_DIR)
env.read_file(env.path("MEMORYHUB_ENV_FILE", BASE_DIR / ".env"))

SECRET_KEY = env.secret("SECRET_KEY")
FIELD_KEYS = env.fernet_keys("FIELD_KEYS")  # of the stored API keys: the first encrypts, all decrypt
DEBUG = env.flag("DEBUG", False)
DATA_DIR = env.folder("MEMORYHUB_DATA", BASE_DIR / "var")
ADMIN_PASSWORD = env.text("MEMORYHUB_ADMIN_PASSWORD")  # of the first account; generated where empty

# --- Where it listens -----------------------------------------------------------------------------------

HOST = env.text("MEMORYHUB_HOST", "127.0.0.1")
PORT = env.number("PORT", 8000)
WEB_WORKERS = env.number("WEB_WORKERS", 1, highest=64)
WEB_THREADS = env.number("WEB_THREADS", 8, highest=256)
ALLOWED_HOSTS = env.names("ALLOWED_HOSTS", ["127.0.0.1", "localhost", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.origins("CSRF_TRUSTED_ORIGINS")

# --- The stores -----------------------------------------------------------------------------------------

CHROMA_PATH = env.path("CHROMA_PATH", DATA_DIR / "chroma")
CHROMA_PORT = env.number("CHROMA_PORT", 8001)
CHROMA_OWN_URL = f"http://127.0.0.1:{CHROMA_PORT}"
CHROMA_URL = env.url("CHROMA_URL", CHROMA_OWN_URL)
CHROMA_OWN = CHROMA_OWN_URL == CHROMA_URL  # whether `make run` starts that server
STORE_TIMEOUT = env.seconds("STORE_TIMEOUT", 15.0)  # for one call to a Letta or Chroma server
AGENT_PATIENCE = env.seconds("AGENT_PATIENCE", 60.0)  # that a write waits for an agent which is at work with the block
os.environ["ANONYMIZED_TELEMETRY"] = "False"  # chromadb takes it from nowhere else

# --- History --------------------------------------------------------------------------------------------

HISTORY_FULL_DAYS = env.number("HISTORY_FULL_DAYS", 30, lowest=0, highest=36500)  # 0: every version, for ever

# --- Agents and scripts ---------------------------------------------------------------------------------

TOKEN_RATE = env.number("TOKEN_RATE", 10_000, highest=1_000_000)  # requests a minute for each token

# --- Django ---------------------------------------------------------------------------------------------

INSTALLED_APPS = [
    "memoryhub",
    "blocks",
    "syncjobs",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django_htmx",
    "template_partials",
    "csp",
    "django_tasks",
    "django_tasks_db",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]

ROOT_URLCONF = "memoryhub.urls"
WSGI_APPLICATION = "memoryhub.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

DATABASES = {"default": env.database("DATABASE_URL", DATA_DIR / "memoryhub.sqlite3")}
DATABASES["default"]["CONN_MAX_AGE"] = 60
DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
if DATABASES["default"]["ENGINE"] == SQLITE:
    # WAL lets pages be read while a worker writes; IMMEDIATE makes writers queue up (for as long as
    # `timeout` says) where a deferred transaction would fail at once when it turns into a write.
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-8000;"
        "PRAGMA secure_delete=ON;",  # what was deleted is overwritten: a purged text is not left in free pages
    }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

TASKS = {
    "default": {"BACKEND": "django_tasks_db.DatabaseBackend", "QUEUES": ["default", "push", "sync"]},
}

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "login"

LANGUAGE_CODE = "en-us"
TIME_ZONE = env.time_zone("TIME_ZONE", "UTC")
USE_TZ = True
USE_I18N = False

STATIC_URL = "static/"
STATIC_ROOT = DATA_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}

# --- Mail -----------------------------------------------------------------------------------------------

globals().update(env.email("EMAIL_URL", "consolemail://"))
EMAIL_TIMEOUT = 20
DEFAULT_FROM_EMAIL = env.text("DEFAULT_FROM_EMAIL", "Memory Hub <memoryhub@localhost>")

# --- Security -------------------------------------------------------------------------------------------

# HTTPS means: a proxy before the hub speaks it, and says so in X-Forwarded-Proto.
HTTPS = env.flag("HTTPS", False)
SECURE_SSL_REDIRECT = HTTPS
SECURE_REDIRECT_EXEMPT = [r"^healthz$"]
SECURE_HSTS_SECONDS = 30 * 24 * 3600 if HTTPS else 0
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
SESSION_COOKIE_SECURE = HTTPS
CSRF_COOKIE_SECURE = HTTPS
# Cookies are shared between ports: names of our own keep other programs on localhost from signing us out.
SESSION_COOKIE_NAME = "memoryhub_session"
CSRF_COOKIE_NAME = "memoryhub_csrf"
CSRF_COOKIE_HTTPONLY = True  # pages carry the token themselves
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
DATA_UPLOAD_MAX_MEMORY_SIZE = 24 * 2**20  # a Letta block can be 20 MB

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    }
}

# --- Log ------------------------------------------------------------------------------------------------

LOG_LEVEL = env.log_level("LOG_LEVEL", "INFO")
# These would log whole requests, headers with API keys among them.
QUIET = (
    "httpx",
    "httpx2",
    "httpcore",
    "mcp",
    "letta_client",
    "chromadb",
    "urllib3",
    "requests",
    "markdown_it",
    "environ",
)
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{levelname} {name}: {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": LOG_LEVEL},
    "loggers": {
        "django": {"handlers": [], "level": LOG_LEVEL, "propagate": True},
        "django.server": {"handlers": [], "level": LOG_LEVEL, "propagate": True},
        "django.db.backends": {"level": "INFO"},  # its DEBUG repeats every parameter
        **{name: {"level": "WARNING"} for name in QUIET},
    },
}

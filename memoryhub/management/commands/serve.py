"""The web server, as the Procfile starts it."""

import os
import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand


class Command(BaseCommand):
    help = "Serve the pages and the API on MEMORYHUB_HOST and PORT, with granian"
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        os.chdir(settings.BASE_DIR)
        command = [sys.executable, "-m", "granian", "--interface", "asgi", "--no-ws", "--respawn-failed-workers"]
        command += ["--host", settings.HOST, "--port", str(settings.PORT), "--log-level", "error"]
        command += ["--workers", str(settings.WEB_WORKERS)]
        command += ["--workers-kill-timeout", "5", "memoryhub.asgi:application"]
        os.execv(sys.executable, command)  # noqa: S606 - no shell, and no argument from outside

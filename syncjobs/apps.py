from django.apps import AppConfig


class SyncJobsConfig(AppConfig):
    name = "syncjobs"

    def ready(self) -> None:
        from syncjobs import tasks  # noqa: F401 - listens to memories_changed

from django.apps import AppConfig


class SyncJobsConfig(AppConfig):
    name = "syncjobs"

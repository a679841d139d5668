"""Job workers: processes without a model that run jobs with the services, woken through Celery."""

"""The dashboard as a view inside the Airflow UI."""

import os

from airflow.plugins_manager import AirflowPlugin

_DEFAULT = "http://127.0.0.1:8000/"


class LoupePlugin(AirflowPlugin):
    """Adds `Loupe` to the navigation; LOUPE_DASHBOARD_URL is where the Flask app answers."""

    name = "loupe"
    external_views = [  # noqa: RUF012 - Airflow reads it as a plain class attribute
        {
            "name": "Loupe",
            "href": os.environ.get("LOUPE_DASHBOARD_URL", _DEFAULT),
            "destination": "nav",
            "url_route": "loupe",
        }
    ]

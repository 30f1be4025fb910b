"""The dashboard as a view inside the Airflow UI."""

from airflow.plugins_manager import AirflowPlugin
from loupe_lines import DASHBOARD


class LoupePlugin(AirflowPlugin):
    """Adds `Loupe` to the navigation; LOUPE_DASHBOARD_URL is where the Flask app answers."""

    name = "loupe"
    external_views = [  # noqa: RUF012 - Airflow reads it as a plain class attribute
        {
            "name": "Loupe",
            "href": DASHBOARD,
            "destination": "nav",
            "url_route": "loupe",
        }
    ]

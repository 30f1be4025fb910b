"""The WSGI entry of PythonAnywhere: `from serving.wsgi import application`."""

from serving.app import create_app

application = create_app()

"""The WSGI entry that a host such as PythonAnywhere imports: `from serving.wsgi import app`."""

from serving.app import create_app

app = create_app()
application = app

"""Django's SQLite backend for connections that are kept open."""

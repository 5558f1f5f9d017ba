"""The database and what is kept in it. Nothing outside this package speaks SQL.

SQLAlchemy is imported by the modules that open or describe the database, and those only when
there is something to write or to read.
"""

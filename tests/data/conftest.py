"""Both databases, for what is tested on both."""

import uuid

import pytest
import sqlalchemy as sa

from data.home import Home


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, home: Home) -> str:
    if request.param == "sqlite":
        return home.database_url
    server: str = request.getfixturevalue("postgres_url")
    name = f"test_{uuid.uuid4().hex}"
    driver = server.replace("postgresql://", "postgresql+psycopg://")
    engine = sa.create_engine(driver, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    return server.rsplit("/", 1)[0] + f"/{name}"

"""Bytes that one visitor's page fetches: in memory, under names nobody guesses, gone with the visitor."""

from typing import NamedTuple

from fastapi import FastAPI, HTTPException, Response
from nicegui import Client

_STORE = "covid_monai.blobs"
_URL = "/_covid_monai/{client_id}/blob/{key}"


class _Blob(NamedTuple):
    data: bytes
    media_type: str


def publish(client: Client, key: str, data: bytes, media_type: str) -> str:
    """Keep bytes for a visitor; return their URL."""
    client.storage.setdefault(_STORE, {})[key] = _Blob(data, media_type)
    return _URL.format(client_id=client.id, key=key)


def withdraw(client: Client, key: str) -> None:
    """Forget bytes that were published."""
    client.storage[_STORE].pop(key, None)


def add_route(app: FastAPI) -> None:
    """Serve what is published."""

    @app.get(_URL, include_in_schema=False)
    def blob(client_id: str, key: str) -> Response:
        client = Client.instances.get(client_id)
        found = client and client.storage.get(_STORE, {}).get(key)
        if not found:
            raise HTTPException(404)
        return Response(found.data, media_type=found.media_type, headers={"Cache-Control": "no-store"})

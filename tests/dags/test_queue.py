"""A message in the line's queue starts an ingest, and is kept until the event is out."""

import asyncio
import importlib.util
import sys
from pathlib import Path

import boto3
import pytest
from airflow.serialization.serialized_objects import DagSerialization

sys.path.insert(0, str(Path(__file__).parents[2] / "plugins"))

from loupe_queue import QueueTrigger

PROJECT = Path(__file__).parents[2]
LINE = """
name = "plant"
title = "Plant"
{schedule}
[source]
uri = "s3://plant"
layout.kind = "class_folders"
{queue}
"""


@pytest.fixture
def queue(aws):
    """A client of an SQS server, and the address of a queue."""
    client = boto3.client("sqs")
    made = client.create_queue(QueueName="arrivals", Attributes={"VisibilityTimeout": "60"})
    return client, made["QueueUrl"]


def test_a_burst_of_messages_is_one_event_and_is_kept_until_it_is_out(queue):
    client, address = queue
    for number in range(12):
        client.send_message(QueueUrl=address, MessageBody=str(number))
    kind, arguments = QueueTrigger(address, settle_s=0).serialize()
    assert kind == "loupe_queue.QueueTrigger"

    async def watch():
        events = QueueTrigger(**arguments).run()
        first = await anext(events)
        name = "ApproximateNumberOfMessagesNotVisible"
        kept = client.get_queue_attributes(QueueUrl=address, AttributeNames=[name])
        assert int(kept["Attributes"][name]) == 12
        client.send_message(QueueUrl=address, MessageBody="later")
        second = await anext(events)
        await events.aclose()
        return first.payload, second.payload

    assert asyncio.run(watch()) == ({"messages": 12}, {"messages": 1})


def test_a_line_that_is_never_quiet_has_its_events_too(queue, monkeypatch):
    client, address = queue
    monkeypatch.setattr("loupe_queue._LARGEST_BURST", 10)
    trigger = QueueTrigger(address, settle_s=5)
    for number in range(30):
        client.send_message(QueueUrl=address, MessageBody=str(number))

    async def watch():
        events = trigger.run()
        found = [(await anext(events)).payload["messages"] for _ in range(2)]
        await events.aclose()
        return found

    assert asyncio.run(watch()) == [10, 10]


def test_a_queue_that_does_not_answer_is_asked_again(queue, monkeypatch):
    client, address = queue
    client.send_message(QueueUrl=address, MessageBody="x")
    pauses = []

    async def pause(seconds):
        pauses.append(seconds)
        monkeypatch.setattr(trigger, "queue", address)

    trigger = QueueTrigger(f"{address}-gone", settle_s=0)
    monkeypatch.setattr("loupe_queue.asyncio.sleep", pause)

    async def watch():
        events = trigger.run()
        event = await anext(events)
        await events.aclose()
        return event.payload

    assert asyncio.run(watch()) == {"messages": 1}
    assert pauses == [30]


@pytest.mark.parametrize("schedule", ["", 'ingest_schedule = "@daily"'])
def test_a_line_with_a_queue_is_also_started_by_it(tmp_path, monkeypatch, schedule):
    def dag(queue: str):
        text = LINE.format(schedule=schedule, queue=queue)
        (tmp_path / "plant.toml").write_text(text)
        monkeypatch.setenv("LOUPE_LINES", str(tmp_path))
        spec = importlib.util.spec_from_file_location("dag_ingest", PROJECT / "dags" / "ingest.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return str(DagSerialization.to_dict(vars(module)["plant__ingest"]))

    assert "plant__arrivals" not in dag("")
    found = dag('queue = "https://sqs.example/1/arrivals"')
    assert "loupe_queue.QueueTrigger" in found
    assert "https://sqs.example/1/arrivals" in found

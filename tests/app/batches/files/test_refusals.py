"""Files and lines that are none: refused or counted, and always told what is wrong."""

from __future__ import annotations

import gzip

import httpx
import pytest

from tests.app.batches.files.lines import line, lines, send, sent
from tests.app.problems import assert_answered
from tests.app.rows import labelled_rows

ROWS = labelled_rows(4)
BAD: dict[bytes, str] = {
    b"[]": "is not an object",
    b"{": "not JSON",
    b"{}": "custom_id: is missing",
    b'{"custom_id": "x", "method": "POST", "url": "/v1/judgments"}': "body: is missing",
    line(ROWS[0], priority=1): "priority: there is no such field",
    line(ROWS[0], method="GET"): "method: 'GET' is not POST",
    line(ROWS[0], url="/v1/chat/completions"): "is not /v1/judgments",
    line(ROWS[0], custom_id=""): "custom_id: must not be empty",
    line(ROWS[0], custom_id="p1"): "custom_id: 'p1' stands in line 1 already",
    line(ROWS[1]): "custom_id: 'p1' stands in line 1 already",
    line(ROWS[0], body=None): "body: None is not an object",
    line(ROWS[0], body={"pairs": [ROWS[0]]}): "without pairs around it",
    line(ROWS[0], body={"prompt": "Why?"}): "response",
    line(ROWS[0], body={"model_a": "x", "model_b": "y", "human": [{"label": "a"}]}): "prompt",
    line({**ROWS[0], "judges": {"student": {"p_a": 0.5}}}): "judges.student: this judge is asked live",
}  # fmt: skip


async def test_lines_that_are_no_requests_are_told_with_their_numbers(
    client: httpx.AsyncClient,
) -> None:
    bad = b"\n\n".join(each.strip() for each in BAD)
    file = await sent(client, line(ROWS[1]) + bad + b"\n" + line(ROWS[2]))
    assert (file["requests"], file["rejected_count"]) == (2, len(BAD))
    assert file["status_details"].startswith(f"{len(BAD)} of {len(BAD) + 2} lines")
    assert "line 2: [] is not an object" in file["status_details"]
    rejected = (await client.get(f"/v1/datasets/{file['id']}")).json()["rejected"]
    assert [each["line"] for each in rejected] == [2 * number + 2 for number in range(len(BAD))]
    for each, message in zip(rejected, BAD.values(), strict=True):
        assert message in each["reason"]


@pytest.mark.parametrize(
    ("content", "fields", "param", "message"),
    [
        (b"", {}, "file", "is empty"),
        (b"\n\n", {}, "file", "no line of it is a request"),
        (b"not JSON\n", {}, "file", "no line of it is a request; line 1: not JSON"),
        (lines(ROWS), {"purpose": "assistants"}, "purpose", "'assistants' is not served here"),
        (lines(ROWS), {"expires_after[seconds]": "60"}, "expires_after[seconds]", "no such field"),
    ],
)
async def test_a_file_that_cannot_be_a_batch_is_refused(
    client: httpx.AsyncClient, content: bytes, fields: dict[str, str], param: str, message: str
) -> None:
    response = await send(client, content, **fields)
    assert_answered(response)
    assert response.status_code == 422
    error = response.json()["error"]
    assert error["param"] == param
    assert message in error["message"]
    assert (await client.get("/v1/files")).json()["data"] == []
    assert (await client.get("/v1/datasets")).json()["data"] == []


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"content-type": "application/json"}, b"{}", 415),
        ({"content-type": "multipart/form-data"}, b"", 400),
        ({"content-type": "multipart/form-data; boundary=x"}, b"--x\r\n", 400),
        ({"content-type": "multipart/form-data; boundary=x"}, b"what", 400),
        ({"content-type": "multipart/form-data; boundary=x"}, b"--x--\r\n", 422),
        (
            {"content-type": "multipart/form-data; boundary=x", "content-encoding": "gzip"},
            gzip.compress(b"--x--\r\n", mtime=0),
            422,
        ),
    ],
)
async def test_a_body_that_is_no_form_is_refused(
    client: httpx.AsyncClient, headers: dict[str, str], body: bytes, status: int
) -> None:
    response = await client.post("/v1/files", content=body, headers=headers)
    assert_answered(response)
    assert response.status_code == status
    assert response.json()["error"]["message"] == response.json()["detail"]


async def test_several_files_or_one_of_another_name_are_refused(client: httpx.AsyncClient) -> None:
    file = ("x.jsonl", lines(ROWS))
    for files in ([("file", file), ("file", file)], [("files", file)]):
        response = await client.post("/v1/files", files=files, data={"purpose": "batch"})
        assert response.status_code == 400
        assert "file" in response.json()["detail"]


async def test_other_places_keep_their_own_form_of_errors(client: httpx.AsyncClient) -> None:
    assert "error" not in (await client.get("/v1/calibrations/none")).json()
    assert "error" in (await client.get("/v1/batches/none")).json()

"""npm's `cloudflare`, in Node."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.clients.conftest import Account
    from tests.clients.installed import NodeClients

SCRIPT = """
import Cloudflare, { toFile } from 'cloudflare';
import { createReadStream, writeFileSync } from 'node:fs';

const [baseURL, account_id, file] = process.argv.slice(2);
const client = new Cloudflare({ apiToken: 'anything', baseURL, maxRetries: 0 });
const { indexes } = client.vectorize;
const told = {};
const refused = async (call) => {
  try { await call(); } catch (error) { return [error.status, error.errors.map((e) => e.code)]; }
};

const config = { dimensions: 3, metric: 'euclidean' };
told.created = await indexes.create({ account_id, name: 'sdk', config });
told.listed = [];
for await (const index of indexes.list({ account_id })) told.listed.push(index.name);
told.read = await indexes.get('sdk', { account_id });
await indexes.metadataIndex.create('sdk', { account_id, propertyName: 'n', indexType: 'number' });
told.fields = await indexes.metadataIndex.list('sdk', { account_id });

const lines = (from) => [0, 1, 2].map((n) => JSON.stringify(
  { id: `${from + n}`, values: [from + n, 1, 0], metadata: { n: from + n } })).join('\\n');
writeFileSync(file, lines(6));
const bodies = {
  buffer: Buffer.from(lines(0)), string: lines(3), stream: createReadStream(file),
  file: await toFile(Buffer.from(lines(9)), 'vectors.ndjson'),
};
for (const [name, body] of Object.entries(bodies))
  told[name] = (await indexes.insert('sdk', { account_id, body })).mutationId;
told.upserted = (await indexes.upsert('sdk', { account_id, body: lines(0),
  'unparsable-behavior': 'discard' })).mutationId;
told.info = await indexes.info('sdk', { account_id });
told.found = await indexes.query('sdk', { account_id, vector: [4, 1, 0], topK: 2,
  returnMetadata: 'indexed', filter: { n: { $lt: 5 } } });
told.got = await indexes.getByIDs('sdk', { account_id, ids: ['11'] });
told.ids = await indexes.listVectors('sdk', { account_id, count: 5 });
told.deleted = (await indexes.deleteByIDs('sdk', { account_id, ids: ['11'] })).mutationId;
await indexes.metadataIndex.delete('sdk', { account_id, propertyName: 'n' });
told.missing = await refused(() => indexes.get('nope', { account_id }));
told.wrong = await refused(() => indexes.query('sdk', { account_id, vector: [1] }));
told.gone = await indexes.delete('sdk', { account_id });
console.log(JSON.stringify(told));
"""


def test_the_node_sdk_works_unmodified(
    node_clients: NodeClients, account: Account, tmp_path: Path
) -> None:
    script = node_clients.folder / "sdk.mjs"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [
            node_clients.node,
            str(script),
            account.base_url,
            account.id,
            str(tmp_path / "vectors.ndjson"),
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["created"]["config"] == {"dimensions": 3, "metric": "euclidean"}
    assert told["listed"] == ["sdk"]
    assert told["read"]["name"] == "sdk"
    assert told["fields"]["metadataIndexes"] == [{"propertyName": "n", "indexType": "number"}]
    mutations = [told[name] for name in ("buffer", "string", "stream", "file", "upserted")]
    assert mutations == sorted(set(mutations))
    assert told["info"]["vectorCount"] == 12
    assert told["info"]["processedUpToMutation"] == told["upserted"]
    assert told["found"]["matches"][0] == {"id": "4", "score": 0, "metadata": {"n": 4}}
    assert told["found"]["matches"][1]["score"] == pytest.approx(1)
    assert told["got"] == [{"id": "11", "values": [11, 1, 0], "metadata": {"n": 11}}]
    assert told["ids"]["totalCount"] == 12
    assert told["ids"]["isTruncated"] is True
    assert told["deleted"] > told["upserted"]
    assert told["missing"] == [404, [3000]]
    assert told["wrong"] == [400, [40006]]
    assert told["gone"] is None

// The scenarios, each in the words of a client: put, get, head, remove, removeMany, list, listVersions, upload, download,
// uploadStream, copy, copyLarge, setTags, tags, removeTags, presignGet, presignPut, startUpload, abortUpload, uploads;
// notFound and refused tell an error's kind, `algorithms` the checksums that can be asked for; `noSuffix`
// and `noTagsAtPut` are lacks.
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const { PassThrough } = require('node:stream');
const { Absent, plainHttp, same, sameBytes } = require('./contract.js');

const LARGE = 68157440;
const SIZES = [0, 1, 65535, 65536, 65537, 5242879, 5242880, 5242881];
const NAMES = [
  'plain', 'with space', 'plus+sign', 'percent%20kept', 'percent%2Fslash', 'ünïcödé', '日本語', 'emoji-😀', 'a//b', 'trailing.',
  'semi;colon', 'at@amp&eq=q?hash#', 'quote\'"', '<xml>&amp;', 'tilde~(paren)!*', 'back\\slash',
];

async function sizes(client, told) {
  for (const size of SIZES) {
    const body = told.body(size);
    const key = told.key(`sizes/${size}`);
    const stored = await client.put(told.bucket, key, { body });
    await holds(client, told, key, body);
    const head = await client.head(told.bucket, key);
    same(`the size of ${size} bytes in head`, head.size, size);
    same(`the ETag of ${size} bytes in head`, bare(head.etag), bare(stored.etag));
    if (!bare(head.etag)) throw new Error('there is no ETag');
    await client.remove(told.bucket, key);
    await missing(client, told.bucket, key);
    await client.put(told.bucket, told.key(`sizes/kept-${size}`), { body });
  }
}

async function multipart(client, told) {
  await client.upload(told.bucket, told.key('multipart/file'), told.bodyPath(LARGE));
  await downloads(client, told, 'multipart/file');
}

async function unknownLength(client, told) {
  // Through a pipe: a file's stream has a path, and its size could be asked for.
  const stream = fs.createReadStream(told.bodyPath(LARGE)).pipe(new PassThrough());
  await client.uploadStream(told.bucket, told.key('unknown/stream'), stream);
  await downloads(client, told, 'unknown/stream');
}

async function ranges(client, told) {
  const body = told.body(LARGE);
  // First and last byte, both included; without a first one it is the last bytes, without a last one it is open.
  const asked = [
    [{ first: 0, last: 0 }, 0, 1], [{ first: 65530, last: 65545 }, 65530, 65546], [{ first: LARGE - 1, last: LARGE - 1 }, LARGE - 1, LARGE],
    [{ last: 70000 }, LARGE - 70000, LARGE], [{ first: LARGE - 100000 }, LARGE - 100000, LARGE],
  ];
  for (const [range, from, to] of asked) {
    if (range.first === undefined && client.noSuffix) continue;
    const got = await client.get(told.bucket, told.key('multipart/file'), { range });
    sameBytes(`range ${JSON.stringify(range)}`, got, body.subarray(from, to));
  }
  return client.noSuffix ? 'without a suffix range, which the client has no call for' : '';
}

// A range as HTTP writes it.
const header = ({ first, last }) => `bytes=${first ?? ''}-${last ?? ''}`;

async function names(client, told) {
  const wanted = {};
  for (const name of NAMES.filter((each) => !(told.cannot_name ?? []).includes(each))) {
    const key = told.key(`names/${name}`);
    await client.put(told.bucket, key, { body: Buffer.from(name) });
    await holds(client, told, key, Buffer.from(name));
    wanted[key] = Buffer.byteLength(name);
  }
  const { entries } = await client.list(told.bucket, told.key('names/'), '');
  for (const { key, size } of entries) {
    if (wanted[key] !== size) throw new Error(`listed with ${size} bytes, and not put so: ${key}`);
    delete wanted[key];
  }
  same('names that the list lacks', Object.keys(wanted), []);
}

async function delimiter(client, told) {
  for (const name of ['d/a/1', 'd/a/2', 'd/b/1', 'd/top']) await client.put(told.bucket, told.key(name), { body: Buffer.from(name) });
  const listed = await client.list(told.bucket, told.key('d/'), '/');
  same('the prefixes', listed.prefixes, [told.key('d/a/'), told.key('d/b/')]);
  same('the keys', listed.entries.map(({ key }) => key), [told.key('d/top')]);
}

async function many(client, told) {
  const { entries } = await client.list(told.bucket, 'many/', '');
  const keys = entries.map(({ key }) => key);
  same('the number of keys', new Set(keys).size, 1100);
  same('the keys in order and once', keys.join() === [...new Set(keys)].sort().join(), true);
}

async function copy(client, told) {
  const body = told.body(65536);
  const [source, target] = [told.key('copy/source'), told.key('copy/target')];
  await client.put(told.bucket, source, { body, contentType: 'text/x-copied', metadata: { origin: 'source' } });
  await client.copy(told.bucket, source, target);
  await holds(client, told, target, body);
  const head = await client.head(told.bucket, target);
  same('the content type', head.contentType, 'text/x-copied');
  same('the metadata', head.metadata, { origin: 'source' });
}

async function copyLarge(client, told) {
  await client.copyLarge(told.bucket, told.key('multipart/file'), told.key('copy/large'));
  await downloads(client, told, 'copy/large');
}

async function deleteMany(client, told) {
  const doomed = Array.from({ length: 25 }, (_, number) => told.key(`keep/doomed-${number}`));
  for (const key of [...doomed, told.key('keep/one')]) await client.put(told.bucket, key, { body: Buffer.from(key) });
  await client.removeMany(told.bucket, doomed);
  const { entries } = await client.list(told.bucket, told.key('keep/'), '');
  same('the keys left', entries.map(({ key }) => key), [told.key('keep/one')]);
}

async function metadata(client, told) {
  const key = told.key('metadata/one');
  const put = {
    body: Buffer.from('with metadata'), contentType: 'text/x-contract', cacheControl: 'max-age=60, private',
    contentDisposition: 'attachment; filename="a b.txt"', contentEncoding: 'gzip',
    metadata: { short: 'value', 'with-dash': 'a b; c=d', long: 'v'.repeat(200) },
  };
  await client.put(told.bucket, key, put);
  const head = await client.head(told.bucket, key);
  for (const name of ['contentType', 'cacheControl', 'contentDisposition', 'contentEncoding']) same(name, head[name], put[name]);
  same('the metadata', Object.fromEntries(Object.entries(head.metadata).sort()), Object.fromEntries(Object.entries(put.metadata).sort()));
}

async function tags(client, told) {
  const key = told.key('tags/one');
  const [first, second] = [{ note: 'with space', team: 'a+b' }, { other: 'x=y' }];
  const found = async () => Object.fromEntries(Object.entries(await client.tags(told.bucket, key)).sort());
  await client.put(told.bucket, key, { body: Buffer.from('tagged'), tags: client.noTagsAtPut ? undefined : first });
  if (client.noTagsAtPut) await client.setTags(told.bucket, key, first);
  same('the tags of the put', await found(), first);
  await client.setTags(told.bucket, key, second);
  same('the tags by themselves', await found(), second);
  await client.removeTags(told.bucket, key);
  same('the tags after their removal', await found(), {});
  return client.noTagsAtPut ? 'without tags at the put, which the client has no argument for' : '';
}

async function presignedGet(client, told) {
  const [key, body] = [told.key('presigned/get one'), told.body(65536)];
  await client.put(told.bucket, key, { body });
  sameBytes('the body by its URL', await plainHttp(told, 'GET', await client.presignGet(told.bucket, key)), body);
}

async function presignedPut(client, told) {
  const [key, body] = [told.key('presigned/put'), told.body(65536)];
  await plainHttp(told, 'PUT', await client.presignPut(told.bucket, key), body);
  await holds(client, told, key, body);
}

async function conditionalPut(client, told) {
  const key = told.key('conditional/one');
  await client.put(told.bucket, key, { body: Buffer.from('first'), ifAbsent: true });
  const error = await client.put(told.bucket, key, { body: Buffer.from('second'), ifAbsent: true }).then(() => null, (failed) => failed);
  if (!error || !client.refused(error)) throw new Error(`the second put was not refused with 412: ${error}`);
  await holds(client, told, key, Buffer.from('first'));
}

async function versions(client, told) {
  const [bucket, key] = [told.versioned_bucket, told.key('versions/one')];
  const ids = [];
  for (const body of ['first', 'second']) ids.push((await client.put(bucket, key, { body: Buffer.from(body) })).version);
  for (const [number, body] of ['first', 'second'].entries()) {
    sameBytes(`version ${number}`, await client.get(bucket, key, { version: ids[number] }), Buffer.from(body));
  }
  const listed = await client.listVersions(bucket, key);
  same('the versions listed', listed.slice(0, 2), [
    { key, id: ids[1], latest: true, marker: false }, { key, id: ids[0], latest: false, marker: false },
  ]);
  await client.remove(bucket, key);
  await missing(client, bucket, key);
  const marker = (await client.listVersions(bucket, key)).find((version) => version.marker && version.latest);
  if (!marker) throw new Error('no delete marker is listed');
  await client.remove(bucket, key, marker.id);
  await client.remove(bucket, key, ids[1]);
  sameBytes('what is left', await client.get(bucket, key, {}), Buffer.from('first'));
}

async function checksums(client, told) {
  const body = told.body(65537);
  for (const algorithm of [undefined, ...client.algorithms]) {
    const key = told.key(`checksums/${algorithm ?? 'default'}`);
    await client.put(told.bucket, key, { body, checksum: algorithm });
    await holds(client, told, key, body);
  }
}

async function abort(client, told) {
  const key = told.key('abort/one');
  const id = await client.startUpload(told.bucket, key, told.body(5242880));
  same('the upload is listed', (await client.uploads(told.bucket, key)).includes(id), true);
  await client.abortUpload(told.bucket, key, id);
  same('the upload is listed after its abort', (await client.uploads(told.bucket, key)).includes(id), false);
  await missing(client, told.bucket, key);
}

async function sync() {
  throw new Absent('the library has no sync of a tree');
}

// Compares an object with what was put.
async function holds(client, told, key, body) {
  sameBytes(`get of ${key}`, await client.get(told.bucket, key, {}), body);
}

// Compares a large object with the large body, by the client's way of downloading.
async function downloads(client, told, name) {
  const file = path.join(told.work, 'downloaded');
  await client.download(told.bucket, told.key(name), file);
  sameBytes(name, fs.readFileSync(file), told.body(LARGE));
  fs.rmSync(file);
}

async function missing(client, bucket, key) {
  const error = await client.head(bucket, key).then(() => null, (failed) => failed);
  if (!error || !client.notFound(error)) throw new Error(`head of what is gone: ${error}`);
}

const bare = (etag) => (etag ?? '').replaceAll('"', '');

module.exports = {
  header,
  scenarios: {
    sizes, multipart, unknown_length: unknownLength, ranges, names, delimiter, many, copy, copy_large: copyLarge, delete_many: deleteMany,
    metadata, tags, presigned_get: presignedGet, presigned_put: presignedPut, conditional_put: conditionalPut, versions, checksums, sync, abort,
  },
};

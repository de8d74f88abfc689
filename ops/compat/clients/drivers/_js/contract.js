// What the JavaScript drivers share: the runner's JSON in, a line a scenario out, and a few things around it.
'use strict';

const assert = require('node:assert');
const fs = require('node:fs');
const http = require('node:http');
const https = require('node:https');
const path = require('node:path');

// Says what a client lacks; it ends a scenario as "absent".
class Absent extends Error {}

// Runs the scenarios that the runner asks for. `connect` makes a client of what the runner tells.
async function main(connect, scenarios) {
  const told = JSON.parse(fs.readFileSync(0, 'utf8'));
  told.certificates = told.ca ? fs.readFileSync(told.ca) : undefined;
  told.bodyPath = (size) => path.join(told.files, String(size));
  told.body = (size) => fs.readFileSync(told.bodyPath(size));
  told.key = (name) => told.prefix + name;
  const client = await connect(told);
  for (const name of told.scenarios) {
    const began = process.hrtime.bigint();
    let [result, detail] = ['pass', ''];
    try {
      if (!scenarios[name]) throw new Error('not known to this driver');
      detail = (await scenarios[name](client, told)) ?? '';
    } catch (error) {
      result = error instanceof Absent ? 'absent' : 'fail';
      detail = String(error.message || error.code || error);
      if (result === 'fail') console.error(name, error);
    }
    const seconds = Number(process.hrtime.bigint() - began) / 1e9;
    console.log(JSON.stringify({ scenario: name, result, detail, seconds }));
  }
  // Idle connections would keep the process.
  process.exit(0);
}

// Uses a URL as somebody without any S3 client does.
function plainHttp(told, method, url, body) {
  return new Promise((resolve, reject) => {
    const { request } = url.startsWith('https:') ? https : http;
    const headers = body ? { 'Content-Length': body.length } : {};
    const sent = request(url, { method, headers, ca: told.certificates, agent: false }, async (answer) => {
      const got = await whole(answer).catch(reject);
      if (answer.statusCode === 200) resolve(got);
      else reject(new Error(`${method} by its URL: ${answer.statusCode} ${got}`));
    });
    sent.on('error', reject);
    sent.end(body);
  });
}

async function whole(stream) {
  const pieces = [];
  for await (const piece of stream) pieces.push(piece);
  return Buffer.concat(pieces);
}

// Bodies are compared without printing them.
function sameBytes(what, got, want) {
  if (!want.equals(got)) throw new Error(`${what}: ${got.length} bytes that are not the ${want.length} put`);
}

function same(what, got, want) {
  try {
    assert.deepStrictEqual(got, want);
  } catch {
    throw new Error(`${what}: ${JSON.stringify(got)} instead of ${JSON.stringify(want)}`);
  }
}

module.exports = { Absent, main, plainHttp, same, sameBytes, whole };

// A did:plc directory and a PDS, both the reference servers, on 127.0.0.1 and on free ports.
//
//   node start.mjs DIR
//
// DIR holds the PDS's databases and blobs; the directory lives in memory. When both answer, one
// line of JSON goes to stdout: {pds, plc, ws, control, admin, pid}. The process ends at SIGTERM,
// at SIGINT, and when its stdin closes, so that it does not outlive whoever started it.
//
// `control` is this file's own endpoint, for what no client of a PDS can ask of it:
//   POST /rotate?did=DID            a new signing key; #identity and #sync follow
//   POST /rotate?did=DID&quiet=1    a new signing key, and not a word on the firehose
//   POST /announce?did=DID          an #identity out of the blue

import { randomBytes } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { Server } from 'node:net'
import { join } from 'node:path'

process.env.LOG_ENABLED = 'false' // read by the servers' loggers when they are imported

const LOOPBACK = '127.0.0.1'
const REPLAY_WINDOW_MS = 24 * 3600 * 1000 // every event of a run can be asked for again
const SUBSCRIPTION_BUFFER = 100_000 // frames; a consumer that is killed and comes back finds all

// Both servers listen by port alone, which would open them to the network.
const listen = Server.prototype.listen
Server.prototype.listen = function (...args) {
  if (typeof args[0] === 'number' && typeof args[1] !== 'string') args.splice(1, 0, LOOPBACK)
  return listen.apply(this, args)
}

const { default: plcModule } = await import('@did-plc/server')
const { PDS } = await import('@atproto/pds')
const { Secp256k1Keypair } = await import('@atproto/crypto')

const directory = process.argv[2]
if (!directory) {
  process.stderr.write('usage: node start.mjs DIR\n')
  process.exit(2)
}

const started = []
let stopping = false
async function stop(code) {
  if (stopping) return
  stopping = true
  for (const close of started.reverse()) await close().catch(() => {})
  process.exit(code)
}

const plcPort = await freePort()
const plc = plcModule.PlcServer.create({ db: plcModule.Database.mock(), port: plcPort })
await plc.start()
started.push(() => plc.destroy())

const pdsPort = await freePort()
const adminPassword = randomBytes(12).toString('hex')
const pds = await startPds()
started.push(() => pds.destroy())

const controlPort = await freePort()
const control = createServer(answer)
await new Promise((ready) => control.listen(controlPort, ready))
started.push(() => new Promise((closed) => control.close(closed)))

process.on('SIGTERM', () => stop(0))
process.on('SIGINT', () => stop(0))
process.stdin.on('end', () => stop(0)).on('error', () => stop(0)).resume()

process.stdout.write(
  JSON.stringify({
    pds: `http://${LOOPBACK}:${pdsPort}`,
    plc: `http://${LOOPBACK}:${plcPort}`,
    ws: `ws://${LOOPBACK}:${pdsPort}`,
    control: `http://${LOOPBACK}:${controlPort}`,
    admin: 'Basic ' + Buffer.from(`admin:${adminPassword}`).toString('base64'),
    pid: process.pid,
  }) + '\n',
)

async function startPds() {
  const rotationKey = await Secp256k1Keypair.create({ exportable: true })
  const recoveryKey = await Secp256k1Keypair.create()
  const data = join(directory, 'data')
  const blobs = join(directory, 'blobs')
  await mkdir(data, { recursive: true })
  await mkdir(blobs, { recursive: true })
  const server = await PDS.fromEnv({
    port: pdsPort,
    hostname: 'localhost', // the one name that a PDS serves without TLS
    serviceHandleDomains: ['.test'],
    devMode: true,
    disableSsrfProtection: true,
    rateLimitsEnabled: false,
    inviteRequired: false,
    adminPassword,
    jwtSecret: randomBytes(16).toString('hex'),
    dataDirectory: data,
    blobstoreDiskLocation: blobs,
    didPlcUrl: `http://${LOOPBACK}:${plcPort}`,
    plcRotationKeyK256PrivateKeyHex: Buffer.from(await rotationKey.export()).toString('hex'),
    recoveryDidKey: recoveryKey.did(),
    maxSubscriptionBuffer: SUBSCRIPTION_BUFFER,
    repoBackfillLimitMs: REPLAY_WINDOW_MS,
    // Required settings that nothing here calls.
    bskyAppViewUrl: 'https://appview.invalid',
    bskyAppViewDid: 'did:web:appview.invalid',
    modServiceUrl: 'https://moderation.invalid',
    modServiceDid: 'did:web:moderation.invalid',
  })
  await server.start()
  // Handles under .test have no DNS: the PDS itself is the authority on them.
  server.ctx.idResolver.handle.resolve = async (handle) => {
    const url = `http://${LOOPBACK}:${pdsPort}/xrpc/com.atproto.identity.resolveHandle`
    const response = await fetch(`${url}?handle=${encodeURIComponent(handle)}`)
    return response.ok ? (await response.json()).did : undefined
  }
  return server
}

async function answer(request, response) {
  const url = new URL(request.url, 'http://control')
  const did = url.searchParams.get('did')
  try {
    if (request.method !== 'POST') throw new Error('the control endpoint takes POST')
    if (url.pathname === '/rotate') {
      await rotate(did, url.searchParams.get('quiet') === '1')
    } else if (url.pathname === '/announce') {
      await pds.ctx.sequencer.sequenceIdentity(did)
    } else {
      throw new Error(`no such control: ${url.pathname}`)
    }
    response.end('{}')
  } catch (error) {
    response.statusCode = 500
    response.end(String(error.stack))
  }
}

async function rotate(did, quiet) {
  const { actorStore, plcClient, plcRotationKey, sequencer } = pds.ctx
  const key = await Secp256k1Keypair.create({ exportable: true })
  const { keyLocation } = await actorStore.getLocation(did)
  await writeFile(keyLocation, await key.export())
  await plcClient.updateAtprotoKey(did, plcRotationKey, key.did())
  if (quiet) return
  const state = await actorStore.transact(did, async ({ repo }) => {
    await repo.processWrites([]) // signs the same data with the new key
    return repo.getSyncEventData()
  })
  await sequencer.sequenceIdentity(did)
  await sequencer.sequenceSync(did, state)
}

async function freePort() {
  const probe = createServer()
  await new Promise((ready, failed) => probe.on('error', failed).listen(0, ready))
  const { port } = probe.address()
  await new Promise((closed) => probe.close(closed))
  return port
}

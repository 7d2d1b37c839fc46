// What servers in the field do, done by this one when it is told to. Part of the script server.mjs, which calls
// misbehave() before it starts; every quirk can also be changed later by the command "quirks".
//
//   hide_limits      operation limits that are obeyed, and told as 0
//   cut              {ReadRequest: 3}: only as many nodes as this are looked at, and answered, whatever was asked for
//   refuse           {ReadRequest: "BadTooManyOperations"}: this answer to every request of the kind
//   refuse_once      the same, for one request
//   slow             {ReadRequest: 500}: milliseconds before such a request is looked at
//   no_filter        "BadMonitoredItemFilterUnsupported": the result for every item with a filter
//   most_clauses     event filters that select more are refused; no_where: those that choose as well
//   most_points      continuation points in one answer about history; nodes after that get none, and no values
//   revise           {samplingInterval: 1000, queueSize: 1}: instead of what is asked for
//   deaf_at_zero     a sampling interval of 0 brings no values at all
//   most_items       items beyond these are made, and never report anything
//   no_time          "source", "server" or "both": time stamps that are missing
//   lose             {PublishRequest: 1}: as many answers are made and never sent; the line goes on
//   requests         publish requests that may wait; the next one is refused
//   outstanding      nodes in all Read requests that are not answered yet; more is refused
function misbehave() {
  const quirks = options.quirks ?? {}
  const { ServiceFault } = opcua
  let made = 0, outstanding = 0

  if (quirks.requests) opcua.ServerSession.maxPublishRequestInQueue = quirks.requests
  if (quirks.hide_limits) {
    const limits = server.engine.serverCapabilities.operationLimits
    const told = { ...limits }
    for (const name of ['maxNodesPerRead', 'maxMonitoredItemsPerCall', 'maxNodesPerTranslateBrowsePathsToNodeIds', 'maxNodesPerBrowse']) {
      const node = space.rootFolder.objects.server.serverCapabilities.operationLimits[name]
      node?.bindVariable({ get: () => new opcua.Variant({ dataType: DataType.UInt32, value: 0 }) }, true)
    }
    Object.assign(limits, told)
  }

  const without = (data, which) => {
    if (which !== 'server') { data.sourceTimestamp = null; data.sourcePicoseconds = 0 }
    if (which !== 'source') { data.serverTimestamp = null; data.serverPicoseconds = 0 }
  }
  const ALTER = { // what goes out
    ReadResponse(response) {
      if (quirks.no_time) for (const data of response.results ?? []) without(data, quirks.no_time)
    },
    PublishResponse(response) {
      if (!quirks.no_time) return
      for (const notification of response.notificationMessage?.notificationData ?? []) {
        for (const item of notification?.monitoredItems ?? []) without(item.value, quirks.no_time)
      }
    },
    HistoryReadResponse(response) {
      let points = 0
      response.results?.forEach((result, i) => {
        if (result.continuationPoint && ++points > (quirks.most_points ?? Infinity)) {
          response.results[i] = new opcua.HistoryReadResult({ statusCode: StatusCodes.BadNoContinuationPoints })
        }
      })
    },
    CreateMonitoredItemsResponse(response, request) {
      request.itemsToCreate.forEach((item, i) => {
        if (item.unselected) {
          response.results[i] = new opcua.MonitoredItemCreateResult({ statusCode: StatusCodes.BadEventFilterInvalid })
        }
        if (quirks.no_filter && item.filtered) {
          response.results[i] = new opcua.MonitoredItemCreateResult({ statusCode: StatusCodes[quirks.no_filter] })
        }
      })
    },
  }
  const PREPARE = { // what comes in
    CreateMonitoredItemsRequest(request) {
      for (const item of request.itemsToCreate) {
        const wanted = item.requestedParameters
        if (quirks.no_filter && wanted.filter) { item.filtered = true; wanted.filter = null; item.monitoringMode = 0 }
        const { selectClauses, whereClause } = wanted.filter ?? {}
        if (selectClauses?.length > (quirks.most_clauses ?? Infinity) || (quirks.no_where && whereClause?.elements?.length)) {
          Object.assign(item, { unselected: true, monitoringMode: 0 })
        }
        if (quirks.deaf_at_zero && wanted.samplingInterval === 0) item.monitoringMode = 0
        if (quirks.most_items && ++made > quirks.most_items) item.monitoringMode = 0
        Object.assign(wanted, quirks.revise)
      }
    },
  }

  const altering = channel => {
    const original = channel.send_response.bind(channel)
    return (type, response, message, ...more) => {
      if (message.counted) { outstanding -= message.counted; message.counted = 0 }
      ALTER[response.schema.name]?.(response, message.request)
      const name = message.request.schema.name
      if (quirks.lose?.[name] > 0 && response.notificationMessage?.notificationData?.length !== 0) {
        quirks.lose[name] -= 1
        return
      }
      return original(type, response, message, ...more)
    }
  }
  for (const kind of ['Read', 'CreateMonitoredItems', 'CreateSubscription', 'Publish', 'Republish', 'TransferSubscriptions', 'TranslateBrowsePathsToNodeIds',
    'CreateSession', 'ActivateSession', 'HistoryRead', 'RegisterNodes', 'Browse', 'BrowseNext']) {
    const name = `${kind}Request`, handler = `_on_${name}`
    const original = server[handler].bind(server)
    const COUNTED = { Read: 'nodesToRead', CreateMonitoredItems: 'itemsToCreate', TranslateBrowsePathsToNodeIds: 'browsePaths' }
    server[handler] = (message, channel) => {
      seen[name] = (seen[name] ?? 0) + 1
      largest[name] = Math.max(largest[name] ?? 0, message.request[COUNTED[kind]]?.length ?? 0)
      const refused = quirks.refuse?.[name] ?? quirks.refuse_once?.[name]
      if (quirks.refuse_once) delete quirks.refuse_once[name]
      const refuse = status =>
        channel.send_response('MSG', new ServiceFault({ responseHeader: { serviceResult: StatusCodes[status] } }), message)
      if (refused) return refuse(refused)
      if (quirks.outstanding && kind === 'Read') {
        const asked = message.request.nodesToRead.length
        if (outstanding + asked > quirks.outstanding) return refuse('BadTooManyOperations')
        outstanding += message.counted = asked
      }
      PREPARE[name]?.(message.request)
      const list = COUNTED[kind]
      if (quirks.cut?.[name] && list) message.request[list] = message.request[list].slice(0, quirks.cut[name])
      if (!Object.hasOwn(channel, 'send_response')) channel.send_response = altering(channel)
      if (quirks.slow?.[name]) return setTimeout(() => original(message, channel), quirks.slow[name])
      return original(message, channel)
    }
  }

  const seen = {}, largest = {}
  Object.assign(COMMANDS, {
    quirks: more => { Object.assign(quirks, more) },
    seen: () => seen,
    largest: () => largest,
    session_timeouts: () => sessions().map(session => session.sessionTimeout),
    close_sockets() {
      for (const point of server.endpoints) for (const channel of Object.values(point._channels)) channel.abruptlyInterrupt()
    },
    delete_subscription() { // the oldest, and nobody is told: the others go on
      for (const session of sessions()) {
        const [first] = session.publishEngine.subscriptions
        if (first) { first.terminate(); break }
      }
    },
  })
}

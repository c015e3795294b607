// What js-libp2p takes from Node 22 and Node 20 lacks; to be imported before anything of libp2p.

Promise.withResolvers ??= function () {
  const deferred = {}
  deferred.promise = new this((resolve, reject) => Object.assign(deferred, { resolve, reject }))
  return deferred
}

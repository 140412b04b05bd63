// TLS of 2014 on node 0.10: `node old_tls.js KEY CERTIFICATE`. Port 4411 has all versions, 4412 SSL 2.0 alone, 4413 SSL 3.0 alone.
var tls = require('tls'), fs = require('fs');
// Whoever probes leaves in the middle.
process.on('uncaughtException', function () {});
var key = fs.readFileSync(process.argv[2]), cert = fs.readFileSync(process.argv[3]);
[['SSLv23_method', 4411], ['SSLv2_method', 4412], ['SSLv3_method', 4413]].forEach(function (it) {
  tls.createServer({ key: key, cert: cert, secureProtocol: it[0], ciphers: 'ALL' }, function (client) {
    client.on('error', function () {});
  }).listen(it[1]);
});

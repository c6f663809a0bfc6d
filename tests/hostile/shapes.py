"""HTTP requests that are broken on purpose, by what is wrong with them."""

WORDS = b"somebodys-words"
H = b" HTTP/1.1\r\nHost: x\r\n"
LAST = b"Connection: close\r\n\r\n"
SOCKET = b"/socket.io/?EIO=4&transport="
ASK = b"POST /askQuestionWithoutStream" + H
GET = b"GET /healthz" + H
CHUNKED = ASK + b"Transfer-Encoding: chunked\r\n\r\n"
UPGRADE = b"GET " + SOCKET + b"websocket" + H + b"Connection: upgrade, close\r\nUpgrade: "

# What no request is; nothing of it may be executed.
UNREADABLE = {
    "noise": bytes(range(256)) * 4,
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + WORDS,
    "words": WORDS + b"\r\n\r\n",
    "no version": b"GET /" + WORDS + b"\r\n\r\n",
    "another version": b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "long line": b"GET /" + b"a" * 100_000 + H + b"\r\n",
    "long header": GET + b"X: " + b"a" * 100_000 + b"\r\n\r\n",
    "many headers": GET + b"X: y\r\n" * 20_000 + b"\r\n",
    "folded header": GET + b"X: y\r\n " + WORDS + b"\r\n\r\n",
    "header without colon": GET + WORDS + b"\r\n\r\n",
    "space before colon": GET + b"Content-Length : 3\r\n\r\nabc",
    "null in header": GET + b"X: a\0b" + WORDS + b"\r\n\r\n",
    "CR in header": GET + b"X: a\r9999-01-01 ERROR " + WORDS + b"\r\n\r\n",
    "no host": b"GET /healthz HTTP/1.1\r\n" + LAST,
    "two lengths": ASK + b"Content-Length: 2\r\nContent-Length: 200\r\n\r\n{}",
    "negative length": ASK + b"Content-Length: -1\r\n\r\n{}",
    "signed length": ASK + b"Content-Length: +2\r\n\r\n{}",
    "length of words": ASK + b"Content-Length: " + WORDS + b"\r\n\r\n",
    "length in another script": ASK + "Content-Length: ٢".encode() + b"\r\n\r\n{}",
    "endless length": ASK + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n{}",
    "length and chunks": ASK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    b"GET /healthz" + H + b"\r\n",
    "chunks twice": ASK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n"
    b"0\r\n\r\nGET /healthz" + H + b"\r\n",
    "chunks of another name": ASK + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "size of words": CHUNKED + WORDS + b"\r\n",
    "endless size": CHUNKED + b"f" * 40 + b"\r\n{}",
    "chunk without end": CHUNKED + b"2\r\n{}" + WORDS,
}  # fmt: skip

# What can be read, and is not what anybody should send.
ODD = {
    "newlines": b"\r\n" * 10_000 + GET + LAST,
    "not gzip": ASK + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n" + LAST + b"abcd",
    "expectation": ASK + b"Expect: " + WORDS + b"\r\nContent-Length: 2\r\n" + LAST + b"{}",
    "charset": ASK + b"Content-Type: x; charset=" + WORDS + b"\r\nContent-Length: 2\r\n" + LAST
    + b"{}",
    "origin": b"GET " + SOCKET + b"polling" + H + b"Origin: \xff\xfe\r\n" + LAST,
    "preflight": b"OPTIONS /" + H + b"Access-Control-Request-Headers: \xff\r\n" + LAST,
    "preflight of sockets": b"OPTIONS " + SOCKET + b"polling" + H
    + b"Origin: \xff\r\nAccess-Control-Request-Headers: \xff\r\n" + LAST,
    "escapes": b"GET /%00%ff%zz%0d%0aSet-Cookie:%20" + WORDS + H + LAST,
    "traversal": b"GET /socket.io/../../../../etc/passwd" + H + LAST,
    "escaped traversal": b"GET /socket.io/socket.io%2f..%2f..%2f..%2fpackage.js" + H + LAST,
    "another host": b"GET http://169.254.169.254/" + H + LAST,
    "bad host": b"GET /healthz HTTP/1.1\r\nHost: [::" + WORDS + b"\r\n" + LAST,
    "tunnel": b"CONNECT evil:443" + H + LAST,
    "star": b"OPTIONS *" + H + LAST,
    "no such upgrade": UPGRADE + WORDS + b"\r\n\r\n",
    "upgrade without key": UPGRADE + b"websocket\r\n\r\n",
    "upgrade with a bad key": UPGRADE + b"websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: " + WORDS + b"\r\n\r\n",
    "no upgrade": b"GET " + SOCKET + b"websocket" + H + LAST,
    "EIO 3": b"GET /socket.io/?EIO=3&transport=polling" + H + LAST,
    "EIO of words": b"GET /socket.io/?EIO=" + WORDS + b"&transport=polling" + H + LAST,
    "EIO in another script": b"GET /socket.io/?EIO=%D9%A4&transport=polling" + H + LAST,
    "EIO twice": b"GET /socket.io/?EIO=4&EIO=3&transport=polling" + H + LAST,
    "no such transport": b"GET " + SOCKET + WORDS + H + LAST,
    "JSONP": b"GET " + SOCKET + b"polling&j=0" + H + LAST,
    "JSONP of words": b"GET " + SOCKET + b"polling&j=" + WORDS + H + LAST,
    "forged sid": b"GET " + SOCKET + b"polling&sid=%0d%0a9999-01-01%20ERROR%20" + WORDS + H + LAST,
    "forged sid by POST": b"POST " + SOCKET + b"polling&sid=" + WORDS + H
    + b"Content-Length: 1\r\n" + LAST + b"1",
    "bad query": b"GET " + SOCKET + b"polling&sid=%ff%zz%00&=&&&x" + H + LAST,
    "ranges": b"GET /socket.io/socket.io.js" + H + b"Range: bytes=99999999999999999999-\r\n"
    b"If-Match: " + WORDS + b"\r\nIf-Modified-Since: " + WORDS + b"\r\n" + LAST,
    "cookies": GET + b"Cookie: " + b"=;" * 2_000 + b"\xff\r\n" + LAST,
    "user agent": GET + b"User-Agent: \x1b[31m9999-01-01 ERROR " + WORDS + b"\r\n" + LAST,
    "many at once": (GET + b"\r\n") * 300 + GET + LAST,
}  # fmt: skip

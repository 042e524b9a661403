# Runs in a network of its own: the argument is a JSON file that says which program runs, what is
# around it, and what it is asked. Its answers are printed as JSON.
import base64, hashlib, http.client, http.server, json, os, ssl, subprocess, sys, threading, time

plan = json.load(open(sys.argv[1]))


class Outside(http.server.BaseHTTPRequestHandler):
    """A proxy that is itself every server behind it: a bucket, and the heads of repositories."""

    def do_CONNECT(self):
        self.connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(plan["certificate"])
        inner = context.wrap_socket(self.connection, server_side=True)
        asked = b""
        while True:
            piece = inner.recv(65536)
            if not piece:
                return
            asked += piece
            while b"\r\n\r\n" in asked:
                head, asked = asked.split(b"\r\n\r\n", 1)
                inner.sendall(self.answer(head.split()[1].decode()))

    def do_GET(self):
        self.connection.sendall(self.answer("/" + self.path.split("/", 3)[3]))
        self.close_connection = True

    def answer(self, target):
        path = target.split("?")[0]
        if "storage" in path or path.startswith("/vcs-test/"):
            name = path.split("/o/")[-1].replace("%2F", "/") if "/o/" in path else path[len("/vcs-test/") :]
            data = plan["objects"].get(name)
            if data is None:
                return b"HTTP/1.1 404 no\r\nContent-Length: 0\r\n\r\n"
            body = base64.b64decode(data)
            if "/o/" in path:
                md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
                body = json.dumps({"name": name, "bucket": "vcs-test", "size": str(len(body)), "md5Hash": md5}).encode()
        else:
            body = plan["heads"].encode()
        return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body

    def log_message(self, *_):
        pass


outside = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Outside)
threading.Thread(target=outside.serve_forever, daemon=True).start()
proxy = "http://127.0.0.1:%d" % outside.server_address[1]
environment = dict(os.environ, HTTPS_PROXY=proxy, HTTP_PROXY=proxy, https_proxy=proxy, http_proxy=proxy, NO_PROXY="", no_proxy="", **plan["environment"])
child = subprocess.Popen(plan["command"], env=environment, stdout=sys.stderr)


def ask(question):
    connection = http.client.HTTPConnection("127.0.0.1", plan["port"], timeout=30)
    connection.putrequest("GET", question["path"], skip_host=True, skip_accept_encoding=True)
    connection.putheader("Host", question["host"])
    if question["authorization"]:
        connection.putheader("Authorization", question["authorization"])
    connection.endheaders()
    answer = connection.getresponse()
    head = {name.lower(): value for name, value in answer.getheaders()}
    return {"status": answer.status, "head": head, "body": base64.b64encode(answer.read()).decode()}


until = time.monotonic() + 60
while True:
    try:
        if ask(plan["ready"])["status"] == 200:
            break
    except OSError:
        pass
    if child.poll() is not None or time.monotonic() > until:
        sys.exit("the program is not ready: %s" % child.poll())
    time.sleep(0.05)
print(json.dumps([ask(question) for question in plan["questions"]]))
child.kill()

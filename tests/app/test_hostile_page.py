"""Pages of other origins in a real browser: they post, read and connect nothing; the page itself works.

The same attacks run from the page itself, where each of them succeeds: they can succeed.
"""

import json
import re
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import HTTPError

import pytest
from app_helpers import SECONDS, Server, browser_test, free_port, until
from selenium.webdriver.common.by import By

ROOT = Path(__file__).parents[2]
KEY = "planted-0123456789-abcdef"
# Each attack gives a word of success, or fails; `arguments` are the target and, at the end, the callback.
ATTACKS = """
const [target, done] = arguments;
const socket = '/_nicegui_ws/socket.io/?EIO=4&transport=';
const image = new Blob([new Uint8Array(64)], {type: 'text/plain'});
const form = () => { const data = new FormData(); data.append('files', image, 'a.dcm'); return data; };
const post = (body, more) =>
    fetch(target + "/v1/predict", {method: "POST", body, credentials: "include", ...more})
    .then(answer => answer.text());
const read = (path, more) => fetch(target + path, {credentials: 'include', ...more})
    .then(async answer => answer.ok && (await answer.text()));
const text = frame => frame.contentDocument && frame.contentDocument.body.innerText;
const element = (tag, attribute, path) => new Promise((found, failed) => {
    const made = document.createElement(tag);
    if (tag === 'link') made.rel = 'stylesheet';
    made.onload = () => found(tag === 'iframe' ? text(made) : 'loaded');
    made.onerror = failed;
    made[attribute] = target + path;
    document.body.append(made);
});
const opened = (made, event) => new Promise((found, failed) => {
    made['on' + event] = () => found('open');
    made.onerror = failed;
    made.onclose = failed;
});
const request = (method, path, body) => new Promise((found, failed) => {
    const made = new XMLHttpRequest();
    made.open(method, target + path);
    made.withCredentials = true;
    made.onload = () => found(made.status < 400 && made.responseText);
    made.onerror = failed;
    made.send(body);
});
const submit = () => new Promise(found => {
    const frame = document.createElement('iframe');
    frame.name = 'answer';
    document.body.append(frame);
    const made = document.createElement('form');
    Object.assign(made, {method: 'post', enctype: 'multipart/form-data', target: 'answer'});
    made.action = target + '/v1/predict';
    const field = document.createElement('input');
    field.type = 'file';
    field.name = 'files';
    const chosen = new DataTransfer();
    chosen.items.add(new File([image], 'a.dcm'));
    field.files = chosen.files;
    made.append(field);
    document.body.append(made);
    frame.onload = () => found(text(frame));
    made.submit();
});
const attacks = {
    text: () => post(image, {mode: 'no-cors'}),
    multipart: () => post(form(), {mode: 'no-cors'}),
    url: () => post(new URLSearchParams({files: 'x'}), {mode: 'no-cors'}),
    dicom: () => post(image, {headers: {'Content-Type': 'application/dicom'}}),
    json: () => post('{"dicomweb_url": "x"}', {headers: {'Content-Type': 'application/json'}}),
    beacon: () => { navigator.sendBeacon(target + '/v1/predict', form()); },
    submit,
    xhr_post: () => request('POST', '/v1/predict', form()),
    xhr_read: () => request('GET', '/v1/model'),
    page: () => read('/'),
    model: () => read('/v1/model'),
    health: () => read('/health'),
    without_credentials: () => read('/v1/model', {credentials: 'omit'}),
    opaque: () => read('/v1/model', {mode: 'no-cors'}),
    polling: () => read(socket + 'polling'),
    socket: () => opened(new WebSocket(target.replace('http', 'ws') + socket + 'websocket'), 'open'),
    picture: () => element('img', 'src', '/docs/files/favicon.png'),
    script: () => element('script', 'src', '/docs/files/swagger-ui-bundle.js'),
    style: () => element('link', 'href', '/docs/files/swagger-ui.css'),
    object: () => element('object', 'data', '/docs/files/favicon.png'),
    frame: () => element('iframe', 'src', '/docs'),
    frame_of_page: () => element('iframe', 'src', '/'),
};
const late = new Promise(found => setTimeout(found, 8000, null));
Promise.all(Object.entries(attacks).map(([name, attack]) =>
    Promise.race([Promise.resolve().then(attack), late]).then(found => found ? name : null, () => null)
)).then(names => done(names.filter(name => name)));
"""
IN_A_FRAME = """
const [source, target, where, done] = arguments;
const frame = document.createElement('iframe');
addEventListener('message', event => done(event.data));
if (where === 'sandbox') frame.sandbox = 'allow-scripts allow-forms';
const code = `<body><script>(function () {${source}})(${JSON.stringify(target)},
    names => parent.postMessage(names, '*'))</` + 'script>';
if (where === 'data') frame.src = 'data:text/html;base64,' + btoa(code);
else frame.srcdoc = code;
document.body.append(frame);
"""


class _Blank(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!DOCTYPE html><title>a stranger's page</title><body>")

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def stranger():
    """The port of a server of pages that belong to a stranger."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Blank)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()


def events(server, name):
    lines = [json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == name]


def predictions(server):
    return [one for one in events(server, "answered") if one.get("route") in ("/v1/predict", "/v1/report")]


def settled_predictions(server):
    """Return the number of predictions once no answer is still on its way, such as that to a beacon."""
    count = -1
    while count != (count := len(predictions(server))):
        time.sleep(2)
    return count


def attack(browser, target, where=""):
    """Run all attacks from the open page, or from a frame in it; gives those that succeed."""
    browser.driver.set_script_timeout(SECONDS)
    if where:
        return set(browser.driver.execute_async_script(IN_A_FRAME, ATTACKS, target, where))
    return set(browser.driver.execute_async_script(ATTACKS, target))


@browser_test
def test_every_attack_succeeds_where_it_is_none(browser, server):
    browser.driver.get(f"{server.url}/docs")
    before = len(predictions(server))
    found = attack(browser, server.url)
    assert found >= {
        "text",
        "multipart",
        "dicom",
        "xhr_post",
        "xhr_read",
        "page",
        "model",
        "polling",
        "socket",
    }
    assert found >= {"picture", "script", "style"}
    assert settled_predictions(server) >= before + 6


@browser_test
@pytest.mark.parametrize("where", ["", "sandbox", "data"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "evil.example"])
def test_a_page_of_another_origin_posts_reads_and_connects_nothing(browser, server, stranger, host, where):
    browser.driver.get(f"http://{host}:{stranger}/")
    before, refused = settled_predictions(server), len(events(server, "refused"))
    for target in (server.url, server.url.replace("127.0.0.1", "localhost")):
        assert attack(browser, target, where) == set()
    assert settled_predictions(server) == before
    assert len(events(server, "refused")) > refused + 20


@browser_test
def test_a_name_that_is_made_to_lead_here_gets_nothing(browser, server):
    before = settled_predictions(server)
    browser.driver.get(f"http://evil.example:{server.port}/")
    assert "/problems/other-host" in browser.driver.page_source
    assert attack(browser, f"http://evil.example:{server.port}") == set()
    assert settled_predictions(server) == before


@browser_test
def test_without_tls_too_a_page_of_another_origin_gets_nothing(browser, stranger, tmp_path):
    running = Server(tmp_path, "--public-url", "http://images.example")
    try:
        # Browsers send Sec-Fetch-Site only over TLS and to this machine: here they do neither.
        target = f"http://images.example:{running.port}"
        browser.open(target)
        until(lambda: _transport(browser) == "websocket", "a socket")
        for host in ("127.0.0.1", "evil.example"):
            browser.driver.get(f"http://{host}:{stranger}/")
            assert attack(browser, target) == set()
        assert not settled_predictions(running)
    finally:
        running.stop()


@browser_test
def test_a_form_in_the_window_itself_is_refused(browser, server, stranger):
    browser.driver.get(f"http://localhost:{stranger}/")
    browser.driver.execute_script(
        """const form = document.createElement('form');
        Object.assign(form, {method: 'post', enctype: 'multipart/form-data'});
        form.action = arguments[0] + '/v1/predict';
        document.body.append(form);
        form.submit();""",
        server.url,
    )
    until(lambda: "/problems/other-origin" in browser.driver.page_source, "the form is refused")


@browser_test
def test_a_link_on_another_site_opens_the_page(browser, server, stranger):
    browser.driver.get(f"http://evil.example:{stranger}/")
    browser.driver.execute_script(
        "document.body.innerHTML = `<a href='${arguments[0]}'>images</a>`", f"{server.url}/"
    )
    browser.driver.find_element(By.TAG_NAME, "a").click()
    browser.wait_for(".dropzone")
    until(lambda: _transport(browser) == "websocket", "a socket")


@browser_test
def test_a_window_that_another_site_opens_is_out_of_its_reach(browser, server, stranger):
    browser.driver.get(f"http://evil.example:{stranger}/")
    browser.driver.execute_script("window.opened = window.open(arguments[0])", f"{server.url}/")
    until(lambda: browser.driver.execute_script("return window.opened.closed"), "no way into the window")
    here, *others = browser.driver.window_handles
    for other in others:
        browser.driver.switch_to.window(other)
        browser.driver.close()
    browser.driver.switch_to.window(here)


def _transport(browser):
    return browser.driver.execute_script(
        "return window.socket?.connected && window.socket.io.engine.transport.name"
    )


def _shows_a_result(browser, images):
    browser.wait_for(".dropzone")
    until(lambda: _transport(browser) == "websocket", "a socket")
    browser.upload(images / "image.dcm")
    browser.wait_for(".viewer[data-drawn=yes]")
    browser.wait_for(".outcome")
    for old in browser.downloads.iterdir():
        old.unlink()
    browser.click("button", "JSON")
    assert json.loads(browser.downloaded(".json").read_text())["status"] == "ok"


@pytest.fixture(scope="module")
def keyed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keyed")
    keys = folder / "keys"
    keys.touch(mode=0o600)
    keys.write_text(f"ward:{KEY}\n")
    running = Server(folder, "--api-key-file", keys, "--requests-per-minute", 5)
    yield running
    running.stop()
    assert KEY not in running.log.read_text()


@browser_test
def test_a_page_with_a_key_asks_for_it_once_and_works(browser, keyed, stranger, images):
    with pytest.raises(HTTPError) as refused:
        urllib.request.urlopen(keyed.url, timeout=SECONDS)
    assert refused.value.code == 401
    assert "Basic" in refused.value.headers["WWW-Authenticate"]
    browser.driver.get(keyed.url.replace("http://", f"http://ward:{KEY}@"))  # as if typed when asked
    browser.driver.get(keyed.url)
    _shows_a_result(browser, images)
    # The browser now adds the key to each request: a stranger's page gains nothing by that.
    browser.driver.get(f"http://localhost:{stranger}/")
    assert attack(browser, keyed.url) == set()
    assert not predictions(keyed)
    assert {one["reason"] for one in events(keyed, "refused")} == {"no-key", "other-origin"}


@browser_test
@pytest.mark.skipif(
    not shutil.which("nginx") or not shutil.which("openssl"), reason="needs nginx and openssl"
)
def test_the_proxy_of_the_document_serves_the_page_and_keeps_strangers_out(
    browser, stranger, images, tmp_path
):
    port = free_port()
    public = f"https://images.example:{port}"
    behind = Server(tmp_path, "--public-url", public)
    try:
        with _nginx(tmp_path, port, behind.port):
            browser.driver.get(public)
            _shows_a_result(browser, images)
            assert attack(browser, public) >= {
                "multipart",
                "xhr_post",
                "model",
                "polling",
                "socket",
                "picture",
            }
            before = settled_predictions(behind)
            for host in ("localhost", "evil.example"):
                browser.driver.get(f"http://{host}:{stranger}/")
                assert attack(browser, public) == set()
            assert settled_predictions(behind) == before
    finally:
        behind.stop()


def _nginx(folder, port, upstream):
    """Run nginx with the configuration of docs/rest.md, on another port and without root."""
    (block,) = re.findall(
        r"^```nginx\n(.*?)^```", (ROOT / "docs/rest.md").read_text(), re.MULTILINE | re.DOTALL
    )
    certificate, key = folder / "cert.pem", folder / "key.pem"
    command = f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=images.example -keyout {key} -out"
    subprocess.run([*command.split(), certificate], check=True, capture_output=True)
    block = re.sub(r"(ssl_certificate_key +)\S+;", rf"\g<1>{key};", block)
    block = re.sub(r"(ssl_certificate +)\S+;", rf"\g<1>{certificate};", block)
    block = block.replace("listen 443", f"listen 127.0.0.1:{port}").replace(":8501", f":{upstream}")
    temporary = "".join(
        f"{kind}_temp_path {folder / kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    configuration = folder / "nginx.conf"
    configuration.write_text(
        f"daemon off;\npid {folder / 'pid'};\nerror_log stderr;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{temporary}{block}}}\n"
    )
    return _Running(["nginx", "-p", folder, "-c", configuration], port)


class _Running:
    """A server as a process, from the moment when it listens."""

    def __init__(self, command, port):
        self._process = subprocess.Popen(list(map(str, command)))
        self._port = port

    def __enter__(self):
        def listens():
            assert self._process.poll() is None
            with socket.create_connection(("127.0.0.1", self._port), timeout=5):
                return True

        until(listens, "the proxy listens", ignored=OSError)

    def __exit__(self, *_):
        self._process.terminate()
        self._process.wait(20)

"""Who may look, over a real server: logins, roles, tokens, proxies, names and foreign pages."""

import http.client
from dataclasses import replace

import pytest

from edge.errors import ConfigError
from edge.web.schema import Role
from edge.web.sessions import INVITATION_S, MAX_PER_USER, Invitations, Sessions, write_invitation
from edge.web.users import Users, read_users, write_users
from tests.support.web_node import ANN, make_archive, make_event, make_node, serving

PASSWORDS = {"vera": "vera-looks", "emil": "emil-enrolls", "ada": "ada-administers"}
ROLES = {"vera": Role.VIEWER, "emil": Role.ENROLLER, "ada": Role.ADMIN}


@pytest.fixture(scope="module")
def users_text(tmp_path_factory):
    """A users file, whose hashes take a while to make."""
    path = tmp_path_factory.mktemp("users") / "users.toml"
    users = Users()
    for name, role in ROLES.items():
        users = users.put_user(name, role, PASSWORDS[name])
    users, token = users.put_token("grafana", Role.VIEWER)
    write_users(path, users)
    return path.read_text(), token


@pytest.fixture
def users_file(users_text, tmp_path):
    path = tmp_path / "users.toml"
    path.write_text(users_text[0])
    path.chmod(0o600)
    return path


@pytest.fixture
def served(users_file, tmp_path):
    archive = make_archive(tmp_path)
    archive.index.put_event(make_event(1, people=(ANN,)))
    with serving(make_node(archive=archive), users_file=str(users_file)) as served:
        yield served


def log_in(served, name, **headers):
    body = {"user": name, "password": PASSWORDS[name]}
    answer = served.ask("/api/v1/session", "POST", body, **headers)
    assert answer.status == 200, answer.body
    return answer.headers["set-cookie"].partition(";")[0]


def test_on_loopback_nobody_has_to_log_in():
    with serving(make_node()) as served:
        session = served.ask("/api/v1/session").json
        assert session == {"user": "", "role": "admin", "login": False}


def test_with_users_nobody_sees_anything_before_the_login_but_the_page_and_health(served):
    for path in ("/api/v1/events", "/api/v1/cameras", "/api/v1/people", "/api/v1/configuration",
                 "/api/v1/changes", "/api/v1/cameras/door/latest.jpg"):  # fmt: skip
        answer = served.ask(path)
        assert answer.status == 401, path
        assert answer.headers["www-authenticate"].startswith("Bearer")
    assert served.ask("/").status == 200
    assert served.ask("/static/page.js").status == 200
    assert served.ask("/healthz").status == 200
    assert served.ask("/api/v1/session").json == {"user": "", "role": None, "login": True}


def test_the_cookie_is_out_of_reach_of_pages_and_of_other_sites(served):
    answer = served.ask("/api/v1/session", "POST", {"user": "ada", "password": PASSWORDS["ada"]})
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "secure" not in cookie  # there is no TLS here
    assert answer.json == {"user": "ada", "role": "admin", "login": True}
    assert PASSWORDS["ada"].encode() not in answer.body


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/api/v1/events", {"vera", "emil", "ada"}),
        ("/api/v1/events?person=p1", {"emil", "ada"}),
        ("/api/v1/people", {"emil", "ada"}),
        ("/api/v1/configuration", {"ada"}),
    ],
)
def test_each_role_may_do_what_it_may(served, path, allowed):
    for name in PASSWORDS:
        status = served.ask(path, cookie=log_in(served, name)).status
        assert (status != 403) == (name in allowed), name


def test_names_are_shown_to_who_may_see_them_only(served):
    seen = {
        name: served.ask("/api/v1/events/e00001", cookie=log_in(served, name)).json["people"]
        for name in PASSWORDS
    }
    assert seen["vera"] == [{"person": "", "name": "known person"}]
    assert seen["emil"] == seen["ada"] == [{"person": "p1", "name": "Ann"}]


def test_a_wrong_password_and_a_wrong_name_look_the_same_and_are_limited(served):
    answers = [
        served.ask("/api/v1/session", "POST", {"user": name, "password": "wrong-password"})
        for name in ("ada", "nobody")
    ]
    assert [answer.status for answer in answers] == [403, 403]
    assert answers[0].body == answers[1].body
    for _ in range(4):
        served.ask("/api/v1/session", "POST", {"user": "ada", "password": "wrong-password"})
    limited = served.ask("/api/v1/session", "POST", {"user": "ada", "password": PASSWORDS["ada"]})
    assert limited.status == 429
    assert int(limited.headers["retry-after"]) <= 61
    log_in(served, "vera")  # others are not locked out


def test_a_login_ends_with_the_logout_and_with_the_password(served, users_file):
    first, second = log_in(served, "emil"), log_in(served, "emil")
    assert served.ask("/api/v1/session", "DELETE", cookie=first).status == 204
    assert served.ask("/api/v1/events", cookie=first).status == 401
    assert served.ask("/api/v1/events", cookie=second).status == 200
    write_users(users_file, read_users(users_file).put_user("emil", Role.VIEWER, "another-one"))
    assert served.ask("/api/v1/events", cookie=second).status == 401


def test_a_role_that_is_taken_away_is_gone_at_once(served, users_file):
    cookie = log_in(served, "ada")
    assert served.ask("/api/v1/configuration", cookie=cookie).status == 404  # there is no file
    users = read_users(users_file)
    text = users_file.read_text().replace('role = "admin"', 'role = "viewer"')
    users_file.write_text(text)
    assert users.users["ada"].role is Role.ADMIN
    assert served.ask("/api/v1/configuration", cookie=cookie).status == 403
    users_file.write_text("no users file")
    assert served.ask("/api/v1/events", cookie=cookie).status == 200  # the former one holds
    users_file.unlink()
    assert served.ask("/api/v1/events", cookie=cookie).status == 401


@pytest.mark.parametrize("cookie", ["", "x", "x.y", "ä", "a" * 4000, "eyJ1IjoiYWRhIn0.aaaa.bbbb"])
def test_a_cookie_that_was_not_given_here_is_nobody_s(served, cookie):
    header = f"edge_session_{served.port}={cookie}".encode().decode("latin-1")
    assert served.ask("/api/v1/events", cookie=header).status == 401


def test_a_program_asks_with_its_token(served, users_text):
    assert served.ask("/api/v1/events", authorization=f"Bearer {users_text[1]}").status == 200
    assert served.ask("/api/v1/people", authorization=f"Bearer {users_text[1]}").status == 403
    for wrong in (f"Bearer {users_text[1]}x", "Bearer ", "Basic YWRhOmFkYQ==", "Bearer \xff"):
        assert served.ask("/api/v1/events", authorization=wrong).status == 401


def test_a_one_time_token_is_exchanged_once(served, users_file):
    token = write_invitation(read_users(users_file).key, Role.ADMIN)
    answer = served.ask("/api/v1/session", "POST", {"token": token})
    assert answer.json["role"] == "admin"
    cookie = answer.headers["set-cookie"].partition(";")[0]
    assert served.ask("/api/v1/events", cookie=cookie).status == 200
    assert served.ask("/api/v1/session", "POST", {"token": token}).status == 403
    forged = write_invitation("another key", Role.ADMIN)
    assert served.ask("/api/v1/session", "POST", {"token": forged}).status == 403


@pytest.mark.parametrize("how", ["another key", "no key", "no file"])
def test_who_came_by_a_one_time_token_is_out_with_its_key(served, users_file, how):
    former = read_users(users_file)
    token = write_invitation(former.key, Role.ADMIN)
    answer = served.ask("/api/v1/session", "POST", {"token": token})
    cookie = answer.headers["set-cookie"].partition(";")[0]
    write_users(users_file, former.put_user("new", Role.VIEWER, "another-one"))
    assert served.ask("/api/v1/events", cookie=cookie).status == 200
    if how == "no file":
        users_file.unlink()
    else:
        write_users(users_file, replace(former, key="" if how == "no key" else "another"))
    assert served.ask("/api/v1/events", cookie=cookie).status == 401
    write_users(users_file, former)
    assert served.ask("/api/v1/events", cookie=cookie).status == 401


def test_logins_that_fail_are_logged_once_with_address_and_name_and_no_password(served, caplog):
    body = {"user": "ada\n\x1b[2J", "password": "wrong-password"}
    for _ in range(7):
        served.ask("/api/v1/session", "POST", body)
    served.ask("/api/v1/session", "POST", {"token": "wrong-token"})
    name = r"'ada\n\x1b[2J' from 127.0.0.1"
    assert [record.getMessage() for record in caplog.records] == [
        f"login failed: {name}: the name or the password is wrong",
        f"login locked out: {name}: too many attempts",
    ]


def test_a_one_time_token_is_valid_for_a_minute(monkeypatch):
    token = write_invitation("key", Role.VIEWER)
    monkeypatch.setattr("itsdangerous.timed.time.time", lambda: 4e9)
    assert Invitations().accept("key", token) is None
    assert INVITATION_S == 60
    assert Invitations().accept("", token) is None


def test_sessions_end_in_time_and_are_bounded():
    now_s = 0.0
    sessions = Sessions(lambda: now_s)
    cookies = [sessions.begin("ada", "hash") for _ in range(MAX_PER_USER)]
    assert sessions.begin("ada", "hash") is None
    assert sessions.find(cookies[0])[1:3] == ("ada", "hash")
    now_s = 6 * 86400.0
    assert sessions.find(cookies[0])
    now_s = 8 * 86400.0
    assert sessions.find(cookies[0])
    assert sessions.find(cookies[1]) is None  # it was not used for a week
    assert sessions.begin("ada", "hash")


def test_too_many_sessions_are_a_problem_and_cost_nobody_theirs(served, monkeypatch):
    monkeypatch.setattr("edge.web.sessions.MAX_PER_USER", 1)
    cookie = log_in(served, "vera")
    body = {"user": "vera", "password": PASSWORDS["vera"]}
    refused = served.ask("/api/v1/session", "POST", body)
    assert refused.status == 429
    assert "too many sessions" in refused.json["detail"]
    assert served.ask("/api/v1/events", cookie=cookie).status == 200


# --- proxies ------------------------------------------------------------------------------------


def test_a_trusted_proxy_says_who_is_asking(users_file):
    options = {"users_file": str(users_file), "trusted_proxies": ["127.0.0.0/8"]}
    with serving(make_node(), **options) as served:
        answer = served.ask("/api/v1/session", remote_user="joe", remote_role="enroller")
        assert answer.json == {"user": "joe", "role": "enroller", "login": True}
        assert served.ask("/api/v1/session", remote_user="joe").json["role"] == "viewer"
        assert served.ask("/api/v1/session", remote_user="joe", remote_role="root").status == 403
        assert served.ask("/api/v1/session", remote_role="admin").json["role"] is None
        cookie = served.ask(
            "/api/v1/session", "POST", {"user": "ada", "password": PASSWORDS["ada"]},
            x_forwarded_proto="https", x_forwarded_for="203.0.113.5",
        ).headers["set-cookie"]  # fmt: skip
        assert "secure" in cookie.lower()


def test_nobody_else_is_believed(served):
    answer = served.ask("/api/v1/session", remote_user="joe", remote_role="admin")
    assert answer.json["role"] is None


def test_what_a_proxy_forwards_to_loopback_is_not_from_this_machine():
    with serving(make_node()) as served:
        for header in ("forwarded", "x_forwarded_for", "x_real_ip", "via"):
            assert served.ask("/api/v1/cameras", **{header: "203.0.113.5"}).status == 401


# --- names, pages and headers -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:9470", 200),
        ("127.0.0.1:1", 200),
        ("[::1]:9470", 200),
        ("192.168.1.5", 200),
        ("door.example", 200),
        ("door.example.:9470", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("", 421),
        ("[", 421),
        ("user@evil.example", 421),
    ],
)
def test_the_node_answers_to_its_names_only(host, status):
    with serving(make_node(), public_names=["door.example"]) as served:
        for path in ("/api/v1/cameras", "/"):
            assert served.ask(path, host=host).status == status
        assert served.ask("/healthz", host=host).status == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 404),
        ({"origin": "http://{own}"}, 404),
        ({"sec_fetch_site": "same-origin"}, 404),
        ({"sec_fetch_site": "none"}, 404),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://127.0.0.1:1"}, 403),
        ({"origin": "null"}, 403),
        ({"sec_fetch_site": "cross-site", "origin": "http://{own}"}, 403),
        ({"sec_fetch_site": "same-site"}, 403),
    ],
)
def test_a_page_of_another_site_changes_nothing(tmp_path, headers, status):
    with serving(make_node(archive=make_archive(tmp_path))) as served:
        own = f"127.0.0.1:{served.port}"
        headers = {name: value.format(own=own) for name, value in headers.items()}
        answer = served.ask("/api/v1/events/none/seen", "PUT", {"seen": True}, **headers)
        assert answer.status == status, answer.body


def test_a_page_of_another_site_reads_nothing():
    with serving(make_node()) as served:
        assert served.ask("/api/v1/cameras", sec_fetch_site="cross-site").status == 403
        answer = served.ask("/api/v1/cameras", origin="http://evil.example")
        assert "access-control-allow-origin" not in answer.headers
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize("path", ["/", "/static/page.js", "/api/v1/cameras", "/api/v1/nothing"])
def test_every_answer_is_shielded(path):
    with serving(make_node()) as served:
        headers = served.ask(path).headers
        policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["connect-src"] == "'self'"
        assert policy["frame-ancestors"] == "'none'"
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(
    "path",
    ["/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py", "/static//etc/hostname",
     "/static/", "/static/none.js"],
)  # fmt: skip
def test_nothing_but_the_page_is_served_beside_it(path):
    with serving(make_node()) as served:
        assert served.ask(path).status == 404


def test_the_page_is_checked_again_and_not_sent_again():
    with serving(make_node()) as served:
        first = served.ask("/static/page.js")
        again = served.ask("/static/page.js", if_none_match=first.headers["etag"])
        assert first.headers["cache-control"] == "no-cache"
        assert (again.status, again.body) == (304, b"")


def test_a_head_is_answered_without_a_body():
    with serving(make_node()) as served:
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=5)
        connection.request("HEAD", "/")
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"")
        connection.close()


def test_the_users_file_is_not_read_where_others_may_read_it(users_file):
    users_file.chmod(0o644)
    with (
        pytest.raises(ConfigError, match=r"http\.users_file: .* chmod 600"),
        serving(make_node(), users_file=str(users_file)),
    ):
        pass

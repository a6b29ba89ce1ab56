"""The page in a real Chromium: what a person sees, by mouse, keyboard and screen reader."""

import base64
import io
import shutil
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.photos import difference, encode, fitted, pattern
from tests.serve.running import problem

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")

FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]
expect = playwright.expect
expect.set_options(timeout=30_000)  # a busy machine
PHOTO = encode(pattern(150, 100), "JPEG", quality=95)
BAD = PHOTO[:200]
TEXT = b"this is no photo"
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)


@pytest.fixture(scope="module")
def chromium():
    """Closed with the module: while it is open, no other test could run an event loop."""
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium, service):
    """Opens the page in a new window; nothing of it may fail, or ask another host."""
    contexts, complaints, addresses = [], [], []

    def opened(url=service.url, *, prepare=lambda page: None, **options):
        options = {"viewport": {"width": 1280, "height": 800}, "reduced_motion": "reduce"} | options
        contexts.append(chromium.new_context(**options))
        page = contexts[-1].new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("request", lambda request: addresses.append(request.url))
        # From now on, and not only from when a test waits for it, which Playwright tells late.
        page.on("filechooser", lambda _: None)
        prepare(page)
        page.goto(url)
        return page

    yield opened
    for context in contexts:
        context.close()
    # Chromium itself notes each answer that is an error.
    assert [text for text in complaints if "Failed to load resource" not in text] == []
    assert {httpx.URL(address).host for address in addresses} <= {"127.0.0.1", ""}


def photo(name, content):
    return {"name": name, "mimeType": "", "buffer": content}


def choose(page, *photos, cards=None):
    """Choose (name, content) pairs, and wait for all answers."""
    page.set_input_files("#pick", [photo(*one) for one in photos])
    expect(page.locator(".card")).to_have_count(cards or len(photos))
    expect(page.locator(".card [aria-busy=true]")).to_have_count(0)


def percent(probability):
    if probability < 0.0005:
        return "<0.1%"
    return ">99.9%" if probability >= 0.9995 else f"{100 * probability:.1f}%"


def bars(within):
    """What the bars say: (class, percent) pairs."""
    classes = within.locator(".bars .class").all_inner_texts()
    return list(zip(classes, within.locator(".bars .percent").all_inner_texts(), strict=True))


def expected(predictions):
    return [(best["name"].split(",")[0], percent(best["probability"])) for best in predictions]


# Answers


def test_a_photo_gets_five_bars_that_are_the_service_s_answer(open_page, service):
    page = open_page()
    choose(page, ("garden.jpg", PHOTO))
    card = page.locator(".card")
    (result,) = service.classify(PHOTO).json()["results"]
    assert bars(card) == expected(result["predictions"])
    expect(card.locator("h3")).to_have_text("garden.jpg")
    expect(card.locator(".facts")).to_have_text("150 \N{MULTIPLICATION SIGN} 100, JPEG")
    assert "network" in card.locator(".times").inner_text()
    expect(page.locator("#model")).to_contain_text("mini, 50 classes, average of ten views")
    full = card.locator("ol").bounding_box()["width"]
    lengths = [bar.bounding_box()["width"] for bar in card.locator(".length").all()]
    for length, best in zip(lengths, result["predictions"], strict=True):
        assert length == pytest.approx(max(3, full * best["probability"]), abs=1)


@pytest.mark.parametrize("size", [(150, 100), (100, 150), (40, 400)])
def test_a_photo_is_shown_in_the_square_that_the_network_sees(open_page, size):
    page = open_page()
    choose(page, ("garden.jpg", encode(pattern(*size), "JPEG")))
    box = page.locator(".frame").bounding_box()
    assert box["height"] == pytest.approx(box["width"], abs=1)


@pytest.mark.parametrize("content", [TEXT, HEIC, BAD, b""], ids=["text", "HEIC", "cut", "empty"])
def test_a_wrong_file_shows_the_service_s_sentence_and_offers_no_second_try(
    open_page, service, content
):
    page = open_page()
    choose(page, ("file.jpg", content))
    sentence = problem(service.classify(content))["detail"]
    expect(page.locator(".problem p")).to_have_text(sentence)
    expect(page.locator(".bars")).to_be_hidden()
    expect(page.locator(".again")).to_be_hidden()


def test_of_several_photos_a_bad_one_alone_is_an_error(open_page):
    page = open_page()
    names = ["one.jpg", "torn.jpg", "two.png"]
    choose(page, *zip(names, [PHOTO, BAD, encode(pattern(seed=4))], strict=True))
    assert page.locator(".card h3").all_inner_texts() == names
    visible = [card.locator(".bars").is_visible() for card in page.locator(".card").all()]
    assert visible == [True, False, True]
    # Later ones come first; a card can be taken away.
    choose(page, ("three.jpg", PHOTO), cards=4)
    page.get_by_role("button", name="Remove torn.jpg").click()
    assert page.locator(".card h3").all_inner_texts() == ["three.jpg", "one.jpg", "two.png"]


@pytest.mark.parametrize("way", ["paste", "drop"])
def test_photos_can_be_pasted_and_dropped(open_page, way):
    page = open_page()
    page.evaluate(
        """([way, content]) => {
          const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
          const data = new DataTransfer();
          data.items.add(new File([bytes], "moved.jpg", { type: "image/jpeg" }));
          const event = way === "paste"
            ? new ClipboardEvent("paste", { clipboardData: data, bubbles: true })
            : new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true });
          document.body.dispatchEvent(event);
        }""",
        [way, base64.b64encode(PHOTO).decode()],
    )
    expect(page.locator(".card .bars .class")).to_have_count(5)
    expect(page.locator(".card h3")).to_have_text("moved.jpg")


def test_a_format_that_browsers_do_not_show_is_answered_all_the_same(open_page, service):
    page = open_page()
    tiff = encode(pattern(), "TIFF")
    choose(page, ("scan.tiff", tiff))
    expect(page.locator(".unseen")).to_be_visible()
    (result,) = service.classify(tiff).json()["results"]
    assert bars(page.locator(".card")) == expected(result["predictions"])
    page.locator(".open").click()
    expect(page.locator("#grid .place")).to_have_count(10)


# The views


def test_the_ten_views_are_shown_with_their_own_answers_when_asked_for(open_page, service):
    page = open_page()
    choose(page, ("garden.jpg", PHOTO))
    expect(page.locator("#views")).to_be_hidden()
    page.get_by_role("button", name="Show the ten views").click()
    (result,) = service.classify(PHOTO, params={"views": "each"}).json()["results"]
    views = page.locator("#grid > li").all()
    for view, answer in zip(views, result["views"], strict=True):
        assert bars(view) == expected(answer["predictions"][:3])
    places = ["top left", "top right", "centre", "bottom left", "bottom right"]
    mirrored = [f"{place}, mirrored" for place in places]
    assert page.locator("#grid .place").all_inner_texts() == places + mirrored
    first = result["predictions"][0]
    agreeing = sum(view["predictions"][0]["index"] == first["index"] for view in result["views"])
    expect(page.locator("#verdict")).to_contain_text(f"{agreeing} of 10 say so")
    page.get_by_role("button", name="Close").click()
    expect(page.locator("#views")).to_be_hidden()


@pytest.mark.parametrize(("number", "corner"), [(1, (0, 28)), (8, (28, 0))])
def test_a_view_is_drawn_as_the_network_gets_it(open_page, number, corner):
    page = open_page()
    choose(page, ("garden.jpg", PHOTO))
    page.locator(".open").click()
    drawn = page.locator("canvas").nth(number).evaluate("canvas => canvas.toDataURL()")
    with Image.open(io.BytesIO(base64.b64decode(drawn.partition(",")[2]))) as image:
        canvas = np.asarray(image.convert("RGBA"))
    with Image.open(io.BytesIO(PHOTO)) as image:
        square = fitted(image, 224)
    assert canvas.shape == (224, 224, 4)
    if number >= 5:
        canvas = canvas[:, ::-1]
    # 56 of 64 pixels are 196 of 224; they are bright, and the rest is faint.
    y, x = corner
    box = canvas[y : y + 196, x : x + 196]
    assert difference(box[..., :3], square[y : y + 196, x : x + 196]) < 2
    assert box[..., 3].min() == 255
    assert (canvas[..., 3] < 100).sum() == pytest.approx(224**2 - 196**2, abs=500)


def test_a_model_that_can_t_tell_its_views_apart_has_no_button_for_them(open_page):
    def without_views(route):
        model = route.fetch().json()
        route.fulfill(json=model | {"each_view": False})

    page = open_page(prepare=lambda page: page.route("**/v1/model", without_views))
    with page.expect_request("**/v1/classify*") as request:
        choose(page, ("garden.jpg", PHOTO))
    assert "views" not in request.value.url
    expect(page.locator(".open")).to_be_hidden()


# Limits and doors


def test_a_file_beyond_the_limit_is_not_sent(open_page, tmp_path):
    large = tmp_path / "large.jpg"
    with large.open("wb") as file:
        file.truncate(21_000_000)
    page = open_page()
    expect(page.locator("#terms")).to_contain_text("up to 20 MB")
    page.set_input_files("#pick", large)
    sentence = "The file has 21 MB, and this service takes 20 MB at most."
    expect(page.locator(".problem p")).to_have_text(sentence)
    choose(page, ("small.png", encode(pattern())), cards=2)
    expect(page.locator(".card").first.locator(".bars")).to_be_visible()


def test_a_service_that_is_gone_can_be_asked_again(open_page):
    page = open_page()
    page.route("**/v1/classify*", lambda route: route.abort())
    choose(page, ("garden.jpg", PHOTO))
    expect(page.locator(".problem p")).to_contain_text("can't be reached")
    page.unroute("**/v1/classify*")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".bars .class")).to_have_count(5)
    expect(page.locator(".problem")).to_be_hidden()


def test_an_answer_that_breaks_off_can_be_asked_for_again(open_page):
    cut = {"status": 200, "content_type": "application/json", "body": '{"model": "mini", "resu'}
    page = open_page()
    page.route("**/v1/classify*", lambda route: route.fulfill(**cut))
    choose(page, ("garden.jpg", PHOTO))
    expect(page.locator(".problem p")).to_have_text("The answer broke off.")
    page.unroute("**/v1/classify*")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".bars li")).to_have_count(5)


def test_a_key_is_asked_for_kept_for_the_tab_and_sent_with_every_request(open_page):
    def door(route):
        if route.request.headers.get("authorization") == "Bearer a-good-key":
            route.continue_()
        else:
            details = {"status": 401, "code": "key_needed", "detail": "Send a header."}
            route.fulfill(status=401, json=details, content_type="application/problem+json")

    page = open_page(prepare=lambda page: page.route("**/v1/**", door))
    key = page.get_by_label("This service asks for a key")
    expect(key).to_be_visible()
    choose(page, ("garden.jpg", PHOTO))
    expect(page.locator(".problem p")).to_have_text("A key is needed.")
    key.fill("a-good-key")
    key.press("Enter")
    expect(page.locator(".bars .class")).to_have_count(5)
    expect(key).to_be_hidden()
    stored = "[Object.values(sessionStorage), localStorage.length, document.cookie]"
    assert page.evaluate(stored) == [["a-good-key"], 0, ""]


def test_what_can_t_be_a_key_is_not_tried(open_page):
    refusal = {"status": 401, "json": {"code": "key_needed", "detail": "Send a header."}}
    page = open_page(prepare=lambda page: page.route("**/v1/**", lambda it: it.fulfill(**refusal)))
    key = page.get_by_label("This service asks for a key")
    key.fill("schlüssel-mit-ümlaut")
    key.press("Enter")
    assert not key.evaluate("key => key.validity.valid")
    assert page.evaluate("sessionStorage.length") == 0


# Everybody


def test_the_keyboard_is_enough(open_page):
    page = open_page()
    page.keyboard.press("Tab")
    expect(page.locator("#pick")).to_be_focused()
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Space")
    chooser.value.set_files([photo("garden.jpg", PHOTO)])
    expect(page.locator(".open")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Remove garden.jpg")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator(".open")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#views")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#views")).to_be_hidden()
    expect(page.locator(".open")).to_be_focused()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.locator(".card")).to_have_count(0)
    expect(page.locator("#pick")).to_be_focused()


def test_a_screen_reader_is_told_each_answer(open_page):
    page = open_page()
    choose(page, ("garden.jpg", PHOTO))
    (best, *_) = bars(page.locator(".card"))
    expect(page.get_by_role("status")).to_have_text(f"garden.jpg: {best[0]}, {best[1]}.")
    choose(page, ("note.txt", TEXT), cards=2)
    expect(page.get_by_role("status")).to_contain_text("note.txt: This is no picture")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_to_complain_of(open_page, scheme):
    page = open_page(color_scheme=scheme)
    source = (Path(axe.__file__).parent / "axe.min.js").read_text("utf-8")
    page.evaluate(source)  # past the page's policy, which would not let it in as a script

    def violations():
        rules = {"target-size": {"enabled": True}}
        found = page.evaluate("rules => axe.run(document, { rules })", rules)["violations"]
        return [(each["id"], [node["html"] for node in each["nodes"]]) for each in found]

    assert violations() == []
    choose(page, ("garden.jpg", PHOTO), ("note.txt", TEXT))
    assert violations() == []
    page.locator("#classes summary").click()
    expect(page.locator("#classes li")).to_have_count(50)
    page.evaluate("document.querySelector('#door').hidden = false")
    assert violations() == []
    page.locator(".open:visible").click()
    assert violations() == []


def test_it_is_dark_where_the_system_is_and_light_elsewhere(open_page):
    def brightness(scheme):
        page = open_page(color_scheme=scheme)
        colors = "[getComputedStyle(document.body)].flatMap((s) => [s.backgroundColor, s.color])"
        numbers = [color.strip("rgb()").split(",") for color in page.evaluate(colors)]
        return [sum(map(int, color)) / 3 for color in numbers]

    (ground, ink), (dark_ground, dark_ink) = brightness("light"), brightness("dark")
    assert ground > 200 > 60 > ink
    assert dark_ground < 60 < 200 < dark_ink


@pytest.mark.parametrize("width", [360, 2560])
def test_nothing_is_wider_than_the_window(open_page, width):
    page = open_page(viewport={"width": width, "height": 740})
    overflow = "document.documentElement.scrollWidth - innerWidth"
    assert page.evaluate(overflow) <= 0
    choose(page, ("a-photo-with-quite-a-long-name-" * 3 + ".jpg", PHOTO), ("note.txt", TEXT))
    assert page.evaluate(overflow) <= 0
    page.locator(".open:visible").click()
    inside = "dialog => dialog.scrollWidth - dialog.clientWidth"
    assert page.locator("#views").evaluate(inside) <= 0


def test_a_phone_has_a_button_for_its_camera(open_page):
    expect(open_page().locator("#camera")).to_be_hidden()
    page = open_page(has_touch=True, is_mobile=True, viewport={"width": 390, "height": 800})
    expect(page.locator("#camera")).to_be_visible()
    assert page.locator("#camera").get_attribute("capture") == "environment"
    page.set_input_files("#camera", [photo("image.jpg", PHOTO)])
    expect(page.locator(".bars .class")).to_have_count(5)


def test_bars_grow_unless_motion_is_to_be_reduced(open_page):
    animation = "getComputedStyle(document.querySelector('.length')).animationName"
    names = []
    for motion in ("no-preference", "reduce"):
        page = open_page(reduced_motion=motion)
        choose(page, ("garden.jpg", PHOTO))
        names.append(page.evaluate(animation))
    assert names == ["grow", "none"]

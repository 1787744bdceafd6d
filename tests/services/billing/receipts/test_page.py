"""The texts of the receipt's pages are there in every language."""

from services.billing.receipts import page


def test_every_text_of_the_pages_is_translated() -> None:
    chinese = page.translations("zh-CN")
    environment = page._environment("zh-CN")
    fields = {
        text if isinstance(text, str) else text[0]
        for name in environment.list_templates(extensions=["html"])
        for _, _, text in environment.extract_translations(  # type: ignore[attr-defined]
            environment.loader.get_source(environment, name)[0]  # type: ignore[union-attr]
        )
    }
    assert len(fields) > 20
    untranslated = {text for text in fields if chinese.gettext(text) == text}
    assert not untranslated
    left_over = {key for key in chinese._catalog if key and key not in fields}
    assert not left_over

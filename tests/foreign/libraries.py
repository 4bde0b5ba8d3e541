"""Asks the foreign libraries: one JSON line in, one JSON line out, until the input ends."""

import json
import sys
from urllib.parse import parse_qsl, urlsplit

from django.conf import settings

# ClickUz reads its account from Django's settings, which are set before it is imported.
CLICK_ACCOUNT = {"service_id": None, "secret_key": None, "merchant_user_id": 1}
settings.configure(CLICK_SETTINGS=CLICK_ACCOUNT)

from clickuz.click_authorization import click_authorization  # noqa: E402
from paylinker import ClickConfig, ClickProvider, PaymeConfig, PaymeProvider  # noqa: E402
from paylinker.providers.click.signing import generate_complete_sign_string, generate_prepare_sign_string  # noqa: E402


def payme_link(cashbox, account_field, order, amount_tiyin, language, return_url):
    config = PaymeConfig(merchant_id=cashbox, merchant_key="not used in links")
    return PaymeProvider(config).generate_payment_url(
        amount=amount_tiyin,
        transaction_param=order,
        return_url=return_url,
        account_field=account_field,
        lang=language,
    )


def click_link(service, merchant, order, amount_tiyin, return_url):
    config = ClickConfig(merchant_id=merchant, service_id=service, secret_key="not used in links")
    # It takes soʻm as a float. With at most 15 digits, Python writes the very decimals that were meant.
    return ClickProvider(config).generate_payment_url(
        amount=amount_tiyin / 100, transaction_param=order, return_url=return_url
    )


def click_signature(key, fields):
    """paylinker's signature of a call; it wants the values as they are written."""
    sign = generate_complete_sign_string if "merchant_prepare_id" in fields else generate_prepare_sign_string
    return sign(secret_key=key, **fields)


def click_is_signed(key, fields, sign_string):
    """Whether ClickUz takes a call as signed. It signs with the service of its own settings."""
    fields = dict(fields)
    CLICK_ACCOUNT.update(service_id=fields.pop("service_id"), secret_key=key)
    return click_authorization(sign_string=sign_string, **fields)


def read_by_python(link):
    parts = urlsplit(link)
    said = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True)
    return {"page": f"{parts.scheme}://{parts.netloc}{parts.path}", "said": said}


QUESTIONS = {
    question.__name__: question
    for question in (payme_link, click_link, click_signature, click_is_signed, read_by_python)
}

for line in sys.stdin:
    asked = json.loads(line)
    print(json.dumps(QUESTIONS[asked.pop("question")](**asked)))

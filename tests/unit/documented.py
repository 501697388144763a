"""Every JSON example of Gameball's own documentation, as literally as it could be recovered."""

from __future__ import annotations

from typing import Any

import pytest

PLAYER = "player123"
"""Who sends an example that is shown without a player."""


def _rows(**examples: str) -> list[Any]:
    return [pytest.param(text, id=name) for name, text in examples.items()]


USAGE_EXAMPLE_ONE = (
    '{"events":{"place_order":{"total_amount":"100","category":["electronics","cosmetics"]},"review":{}},'
    '"playerUniqueId":"player123"}'
)
USAGE_EXAMPLE_TWO = '{"events":{"reserve":{"rooms":2}},"playerUniqueId":"player123"}'
USAGE_EXAMPLE_THREE = (
    '{"events":{"reserve":{"rooms":2}},"playerUniqueId":"player123","mobile":"+1234567","email":"jon.snow@example.com"}'
)

V3 = _rows(
    usage_example_one=USAGE_EXAMPLE_ONE,
    usage_example_two=USAGE_EXAMPLE_TWO,
    usage_example_three=USAGE_EXAMPLE_THREE,
    usage_example_one_in_python=USAGE_EXAMPLE_ONE.replace('"100"', "100"),
    event_object=(
        '{"events":{"buy":{"product_id":"a123456","price":30,"product_category":"fashion",'
        '"product_tags":["men","new_collection"]}}}'
    ),
    event_collection=(
        '{"events":{"buy":{"category":"Electronics","amount":300},'
        '"travel":{"destinations":["Paris","Cairo"],"tickets":4,"season":"Winter"},"visit_branch":{}}}'
    ),
    klaviyo_reviews=(
        '{"playerUniqueId":"...","events":{"review_submitted":'
        '{"rating":"...","productId":"...","productTitle":"...","hasMedia":"..."}}}'
    ),
    action_page='{"events":{"review":{},"reserve":{"rooms":2}}}',
    v1_page='{"events":{"Buy":{"Amount":"100","Type":"Electronics"},"Review":{}},"playerUniqueId":"player123"}',
    python_test='{"events":{"place_order":{"product_id":"product_01","total_paid":200}}}',
    rn_v2_review='{"events":{"review":{}}}',
    rn_v2_place_order='{"events":{"place_order":{"amount":"100","type":"Electronics"}}}',
    ios_v2_coin_purchase='{"events":{"coin_purchase":{"price":"100","currency":"USD"}}}',
)
"""Version 3 and its direct ancestors (gameball-api.md, section 3)."""

V4 = _rows(
    openapi_send_events=(
        '{"customerId":"1848877205","events":{"write_review":{"product_id":"1653503260","review":"5 Stars Product"}}}'
    ),
    openapi_older='{"customerId":"cust_123456789","events":{"write_review":{"product_id":"PROD123","rating":5}}}',
    entities_profile_completed='{"events":{"profile_completed":{}},"customerId":"customer_123"}',
    entities_add_to_cart=(
        '{"events":{"add_to_cart":{"product_id":"231402","product_title":"iPhone 12","price":1350.00,'
        '"category":"Mobile Phones","vendor":"Apple"}},"customerId":"customer_123"}'
    ),
    tutorial_added_to_cart='{"events":{"added_to_cart":{}},"customerId":"CUST_ID"}',
    tutorial_added_to_cart_with_metadata=(
        '{"events":{"added_to_cart":{"product_id":"231402","product_title":"iPhone 12","price":1350.00,'
        '"category":"Mobile Phones","vendor":"Apple"}},"customerId":"CUST_ID"}'
    ),
    tutorial_song_liked=(
        '{"events":{"song_liked":{"song_id":"231402","title":"Coping","album_id":"95621","artist_id":"4773",'
        '"tags":["Pop","R&B"]}},"customerId":"spotify_user123"}'
    ),
    tutorial_session_attended=(
        '{"events":{"session_attended":{"session_id":"231402","title":"Using Artificial Intelligence for Marketing '
        'Analytics","event_id":"15","session_duration":90,"category":"AI"}},"customerId":"attendee_123"}'
    ),
    web_guide_add_to_cart=(
        '{"events":{"add_to_cart":{"product_id":"231402","product_title":"iPhone 12","price":1350.00,'
        '"category":"Electronics","quantity":1}},"customerId":"CUST_ID"}'
    ),
    web_guide_bare_add_to_cart='{"events":{"add_to_cart":{}},"customerId":"CUST_ID"}',
    web_guide_product_viewed=(
        '{"events":{"product_viewed":{"product_id":"12345","category":"Electronics","price":299.99,"brand":"Apple"}}}'
    ),
    omni_channel='{"customerId":"channel_specific_id","email":"customer@example.com","events":{"profile_completed":{}}}',
    rn_v3_guide_purchase=(
        '{"customerId":"customer-123","email":"john@example.com","mobile":"+1234567890","events":{"purchase":'
        '{"order_id":"ORD-12345","amount":149.99,"currency":"USD","category":"electronics","channel":"mobile_app"}}}'
    ),
    rn_v3_guide_review='{"customerId":"customer-123","events":{"review_submitted":{"product_id":"PROD-789","rating":5}}}',
    ios_v3_guide_purchase=(
        '{"customerId":"customer-123","events":{"purchase":{"amount":120.50,"currency":"USD",'
        '"order_id":"order-123","items":3,"channel":"ios_app"}}}'
    ),
    ios_v3_guide_opened_app=(
        '{"customerId":"customer-123","events":{"opened_app":{"platform":"iOS","version":"1.3.0"}}}'
    ),
    rn_readme=(
        '{"customerId":"customer-123","events":{"purchase_completed":{"amount":99.99,"currency":"USD",'
        '"item_count":3}},"email":"customer@example.com","mobile":"+1234567890"}'
    ),
)
"""Version 4 as its OpenAPI file describes it."""

REFUSED = [
    pytest.param(
        {
            "orderId": "ORD-12345",
            "amount": 99.99,
            "currency": "USD",
            "products": [{"productId": "PROD-001", "name": "Sample Product", "price": 99.99, "quantity": 1}],
        },
        "event 'purchase', key 'products': an item of the array is a dict",
        id="flutter_v2_guide_products",
    ),
    pytest.param(
        {"discounted": True}, "event 'purchase', key 'discounted': the value is a bool", id="e_commerce_page_boolean"
    ),
    pytest.param(
        {"checkout_metadata": {"step": 1}},
        "event 'purchase', key 'checkout_metadata': the value is a dict",
        id="e_commerce_page_object",
    ),
    pytest.param(
        {"cart_items": [{"sku": "1"}, {"sku": "2"}]},
        "event 'purchase', key 'cart_items': an item of the array is a dict",
        id="e_commerce_page_items",
    ),
    pytest.param(
        {"isMarried": False}, "event 'purchase', key 'isMarried': the value is a bool", id="v2_player_attributes"
    ),
]
"""Metadata from Gameball's pages that its own rules exclude, and how it is refused."""

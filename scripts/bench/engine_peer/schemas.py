"""JSON Schemas and questions for them, as applications send them; all answers are short. Pure."""

from dataclasses import dataclass
from typing import Any

Schema = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """What the answer has to look like, and what is asked."""

    name: str
    question: str
    schema: Schema


def _text(most: int) -> Schema:
    return {"type": "string", "maxLength": most}


def _one_of(*values: str) -> Schema:
    return {"type": "string", "enum": list(values)}


def _list(items: Schema, least: int, most: int) -> Schema:
    return {"type": "array", "items": items, "minItems": least, "maxItems": most}


def _object(**properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


_INTEGER: Schema = {"type": "integer", "minimum": 0, "maximum": 100000}
_BOOLEAN: Schema = {"type": "boolean"}

FORMS = (
    Form(
        name="record_person",
        question="Maria Keller is 43 years old, lives in Bern and works as a nurse. Record her.",
        schema=_object(
            full_name=_text(30),
            age_in_years=_INTEGER,
            place_of_residence=_text(30),
            occupation=_text(30),
            marital_status=_one_of("single", "married", "divorced", "unknown"),
        ),
    ),
    Form(
        name="triage_ticket",
        question="The login page has shown all customers an error since this morning. Triage it.",
        schema=_object(
            severity=_one_of("critical", "high", "medium", "low"),
            responsible_team=_one_of("authentication", "billing", "frontend", "infrastructure"),
            customers_affected=_one_of("all", "many", "some", "none"),
            needs_immediate_attention=_BOOLEAN,
            summary=_text(80),
        ),
    ),
    Form(
        name="record_invoice",
        question="Invoice 4711 of 3 May: two chairs at 80 each and a table at 240. Record it.",
        schema=_object(
            invoice_number=_INTEGER,
            currency=_one_of("EUR", "USD", "CHF"),
            line_items=_list(
                _object(description=_text(30), quantity=_INTEGER, unit_price_in_cents=_INTEGER),
                2,
                2,
            ),
            total_amount_in_cents=_INTEGER,
            already_paid=_BOOLEAN,
        ),
    ),
    Form(
        name="create_calendar_event",
        question="Put the planning meeting with Ana and Tom on Friday at ten, one hour.",
        schema=_object(
            event_title=_text(40),
            day_of_week=_one_of("monday", "tuesday", "wednesday", "thursday", "friday"),
            starting_hour={"type": "integer", "minimum": 0, "maximum": 23},
            duration_in_minutes=_INTEGER,
            participants=_list(_object(display_name=_text(20), is_optional=_BOOLEAN), 2, 2),
            send_notifications=_BOOLEAN,
        ),
    ),
    Form(
        name="classify_review",
        question="Great food, slow service, fair prices. Classify this review.",
        schema=_object(
            overall_sentiment=_one_of("positive", "neutral", "negative"),
            aspects=_object(
                food_quality=_one_of("positive", "neutral", "negative", "not_mentioned"),
                service_quality=_one_of("positive", "neutral", "negative", "not_mentioned"),
                price_performance=_one_of("positive", "neutral", "negative", "not_mentioned"),
                cleanliness=_one_of("positive", "neutral", "negative", "not_mentioned"),
            ),
            would_recommend=_BOOLEAN,
        ),
    ),
    Form(
        name="search_flights",
        question="I want to fly from Oslo to Rome on 12 June with two children. Search flights.",
        schema=_object(
            departure_city=_text(20),
            destination_city=_text(20),
            travel_class=_one_of("economy", "premium_economy", "business", "first"),
            number_of_adults={"type": "integer", "minimum": 1, "maximum": 9},
            number_of_children={"type": "integer", "minimum": 0, "maximum": 9},
            direct_flights_only=_BOOLEAN,
            preferred_departure_times=_list(_one_of("morning", "noon", "evening"), 1, 2),
        ),
    ),
)

"""A site of Django's: site.py URL make|work. URL is that of an empty database, or of one that was made."""
import datetime
import os
import sys
from urllib.parse import unquote, urlsplit

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True

import django  # noqa: E402
from django.conf import settings  # noqa: E402


def database(url):
    if url.startswith("sqlite:"):
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": url[len("sqlite:"):]}
    parts = urlsplit(url)
    engine = {"postgres": "postgresql", "mysql": "mysql"}[parts.scheme]
    return {
        "ENGINE": "django.db.backends." + engine, "NAME": unquote(parts.path[1:]), "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""), "HOST": parts.hostname, "PORT": parts.port,
    }


settings.configure(
    DATABASES={"default": database(sys.argv[1])}, SECRET_KEY="none", USE_TZ=True, DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.admin", "django.contrib.contenttypes", "django.contrib.sessions", "django.contrib.messages", "shop"],
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "OPTIONS": {"context_processors": [
        "django.contrib.auth.context_processors.auth", "django.contrib.messages.context_processors.messages"]}}],
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware", "django.contrib.auth.middleware.AuthenticationMiddleware",
                "django.contrib.messages.middleware.MessageMiddleware"],
    SILENCED_SYSTEM_CHECKS=["admin.E406"],
)
django.setup()

from django.contrib.admin.models import ADDITION, LogEntry  # noqa: E402
from django.contrib.auth.models import Group, User  # noqa: E402
from django.contrib.contenttypes.models import ContentType  # noqa: E402
from django.contrib.sessions.backends.db import SessionStore  # noqa: E402
from django.core.management import call_command  # noqa: E402
from shop.models import GiftOrder, Item, Note, Order  # noqa: E402


def make():
    call_command("migrate", verbosity=0)
    call_command("migrate", run_syncdb=True, verbosity=0)  # the shop's own, whose references need the others
    ann = User.objects.create(username="ann")
    Group.objects.create(name="staff")
    items = [Item.objects.create(name=n, price=p) for n, p in (("cup", "1.50"), ("plate", "2.00"), ("spoon", None))]
    for text in ("first", "second", "third"):
        Order.objects.create(customer=ann, text=text).items.add(items[0])
    Note.objects.create(about=Order.objects.get(text="first"), text="old")
    long_ago = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)
    User.objects.update(date_joined=long_ago)
    Order.objects.update(created=long_ago, modified=long_ago)


def work():
    cup, plate, spoon = Item.objects.order_by("id")
    first, second, third = Order.objects.order_by("id")
    staff = Group.objects.get()
    bob = User.objects.create(username="bob")
    bob.groups.add(staff)
    User.objects.get(username="ann").groups.add(staff)
    fork = Item.objects.create(name="", price="0.00", sold_out=False)
    gift = GiftOrder.objects.create(customer=bob, text="", wrapping="paper")
    gift.items.add(plate, fork)
    first.items.add(spoon)
    second.text = "second, changed"
    second.save()
    third.delete()
    note = Note.objects.create(about=gift, text="")
    Note.objects.create(about=note, text="on a note")
    LogEntry.objects.log_action(bob.pk, ContentType.objects.get_for_model(GiftOrder).pk, gift.pk, "gift", ADDITION)
    session = SessionStore()
    session["user"] = bob.pk
    session.create()


{"make": make, "work": work}[sys.argv[2]]()

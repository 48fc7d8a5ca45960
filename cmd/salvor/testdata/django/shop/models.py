"""A shop: what rescues of Django's databases meet."""
from django.contrib.auth.models import User
from django.contrib.contenttypes.fields import GenericForeignKey
from django.contrib.contenttypes.models import ContentType
from django.db import models


class Item(models.Model):
    """Has no times, and a table of another name than Django's."""
    name = models.CharField(max_length=50, blank=True)
    price = models.DecimalField(max_digits=10, decimal_places=2, null=True)
    sold_out = models.BooleanField(default=True)

    class Meta:
        db_table = "warehouse"


class Order(models.Model):
    created = models.DateTimeField(auto_now_add=True)
    modified = models.DateTimeField(auto_now=True)
    customer = models.ForeignKey(User, on_delete=models.CASCADE)
    items = models.ManyToManyField(Item)
    text = models.CharField(max_length=50, blank=True)


class GiftOrder(Order):
    """An order with a table of its own beside that of orders."""
    wrapping = models.CharField(max_length=50, blank=True)


class Note(models.Model):
    """Hangs on a row of any model."""
    content_type = models.ForeignKey(ContentType, on_delete=models.CASCADE)
    object_id = models.CharField(max_length=50)
    about = GenericForeignKey()
    text = models.CharField(max_length=50, blank=True)

"""Mail: to the payer, in the payer's language, as text and as a simple page."""

from services.notifications.mail.billers import BillerNames
from services.notifications.mail.outlet import MailOutlet
from services.notifications.mail.smtp import Smtp

__all__ = ["BillerNames", "MailOutlet", "Smtp"]

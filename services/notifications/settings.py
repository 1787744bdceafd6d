"""The settings of a process, from its environment. Every name has the prefix METERHALL_."""

from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Notifications' settings; a secret never shows in a repr."""

    model_config = SettingsConfigDict(env_prefix="METERHALL_", extra="ignore")

    notifications_database_url: SecretStr = Field(
        description="the role notifications_app's database, postgresql+asyncpg://…"
    )
    kafka: str = Field("127.0.0.1:9092", description="bootstrap servers, host:port[,host:port]")
    public_url: str = Field(
        "http://127.0.0.1:8080", description="where the public verifies receipts"
    )
    billing_url: str = Field(
        "http://127.0.0.1:8080", description="billing's HTTP, for the names of billers"
    )

    smtp_host: str = "127.0.0.1"
    smtp_port: int = 1025
    smtp_tls: Literal["never", "if_offered", "required", "implicit"] = Field(
        "if_offered", description="STARTTLS never, if offered or required; implicit is port 465"
    )
    smtp_username: str | None = None
    smtp_password: SecretStr | None = None
    mail_from: str = "Meterhall <no-reply@meterhall.example>"
    # Timeouts stay below the lease of a claimed delivery (deliveries/claim.py), or two senders would have it at once.
    # Mail servers may be slow after the last dot, because they store the message first (RFC 5321 §4.5.3.2: minutes).
    mail_timeout_seconds: float = Field(30.0, gt=0, le=100)
    mail_concurrency: int = Field(
        8, description="connections to the mail server, for each channel and sender process"
    )

    webhook_timeout_seconds: float = Field(10.0, gt=0, le=100)
    webhook_concurrency: int = Field(
        16, description="requests at once, for each endpoint and sender process"
    )
    webhook_allow_loopback: bool = Field(
        False, description="let webhooks go to 127.0.0.1, as the sandbox's do"
    )

    notifications_web_host: str = "127.0.0.1"
    notifications_web_port: int = 8081
    metrics_port: int = Field(
        0, description="worker, sender and relay serve /metrics here; 0 is off"
    )
    deliveries_kept_days: int = Field(
        30, ge=8, description="longer than Kafka keeps events: a delivery's row is what dedupes"
    )
    pool_size: int = 8

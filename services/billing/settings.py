"""The settings of a process, from its environment. Every name has the prefix METERHALL_."""

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Billing's settings; a secret never shows in a repr."""

    model_config = SettingsConfigDict(env_prefix="METERHALL_", extra="ignore")

    database_url: SecretStr = Field(
        description="the application role's database, postgresql+asyncpg://…"
    )
    owner_database_url: SecretStr | None = Field(
        None, description="the owner's, for migrations only"
    )
    notifications_database_url: SecretStr | None = None
    kafka: str = Field("127.0.0.1:9092", description="bootstrap servers, host:port[,host:port]")

    command_secret: SecretStr | None = Field(
        None,
        description="what every signing key is derived from, 32 characters or more: the same for web, worker and the"
        " command line. Who has it may command in the name of every channel",
    )
    trusted_command_topics: str = Field(
        "",
        description="topics, separated by commas: who may write these topics may command in the name of every channel;"
        " signatures on them are not checked; only Kafka's ACLs protect the money",
    )

    psp_url: str = "http://127.0.0.1:8420"
    psp_api_key: SecretStr = SecretStr("")
    psp_webhook_secret: SecretStr = SecretStr("")
    biller_secrets: Path | None = Field(None, description="a JSON file {biller_id: secret}")
    data_dir: Path = Field(
        Path("data"), description="the drop folders of billers that work by file"
    )

    public_url: str = Field(
        "http://127.0.0.1:8080", description="where the public verifies receipts"
    )
    web_host: str = "127.0.0.1"
    web_port: int = 8080
    metrics_port: int = Field(
        0, description="worker, relay and timer serve /metrics here; 0 is off"
    )

    pool_size: int = 8
    # A response that takes longer counts as unknown; PSPs and billers respond within 1 to 5 s, if at all.
    psp_timeout_seconds: float = 10.0
    psp_places: int = Field(256, description="how many errands a process has at the PSP at once")
    psp_late_effect_seconds: float = Field(
        120.0, description="how long after a call without an answer its effect may still come"
    )

-- Who runs the network: companies and their branches, offices and sections.
CREATE SCHEMA org;

CREATE TABLE org.company (
    id text NOT NULL,
    name text NOT NULL,
    CONSTRAINT company_pk PRIMARY KEY (id),
    CONSTRAINT company_named CHECK (name <> '')
);

CREATE TABLE org.unit (
    id text NOT NULL,
    company text NOT NULL,
    parent text,
    kind text NOT NULL,
    name text NOT NULL,
    zone text NOT NULL,
    CONSTRAINT unit_pk PRIMARY KEY (id),
    CONSTRAINT unit_company_fk FOREIGN KEY (company) REFERENCES org.company (id),
    CONSTRAINT unit_parent_fk FOREIGN KEY (parent) REFERENCES org.unit (id),
    CONSTRAINT unit_kind_known CHECK (kind IN ('branch', 'office', 'section')),
    CONSTRAINT unit_named CHECK (name <> '')
);

GRANT USAGE ON SCHEMA org TO
    meterloop_ingest, meterloop_control, meterloop_signer, meterloop_billing, meterloop_portal;
GRANT SELECT ON org.company, org.unit TO
    meterloop_ingest, meterloop_control, meterloop_signer, meterloop_billing, meterloop_portal;
GRANT INSERT, UPDATE ON org.company, org.unit TO meterloop_portal;

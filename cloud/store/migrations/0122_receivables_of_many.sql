-- As ledger.lock_receivables, of many accounts at once; it tells what is owed alone.
CREATE FUNCTION ledger.lock_receivables_of(accounts text[], codes text[])
RETURNS TABLE (code text, owed bigint)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = ledger, pg_temp AS $$
BEGIN
    RETURN QUERY
    WITH kept AS MATERIALIZED (
        SELECT a.id, a.code, a.posted_dr, a.posted_cr
        FROM ledger.account AS a
        WHERE a.kept AND a.code = ANY (accounts || codes)
        ORDER BY a.id FOR NO KEY UPDATE
    )
    SELECT k.code, (k.posted_dr - k.posted_cr)::bigint
    FROM kept AS k WHERE k.posted_dr > k.posted_cr AND k.code = ANY (codes);
END
$$;
REVOKE EXECUTE ON FUNCTION ledger.lock_receivables_of(text[], text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ledger.lock_receivables_of(text[], text[])
    TO meterloop_billing, meterloop_portal;

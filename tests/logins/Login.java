import java.sql.DriverManager;
import java.sql.SQLException;
import java.util.Properties;

/** Log in with pgjdbc: java Login.java PORT USER PASSWORD clear|tls. Prints one line: ok and how, or the SQLSTATE. */
public class Login {
    public static void main(String[] arguments) {
        var properties = new Properties();
        properties.setProperty("user", arguments[1]);
        properties.setProperty("password", arguments[2]);
        properties.setProperty("sslmode", arguments[3].equals("clear") ? "disable" : "require");
        var url = "jdbc:postgresql://127.0.0.1:" + arguments[0] + "/postgres";
        try (var connection = DriverManager.getConnection(url, properties);
                var rows = connection.createStatement()
                        .executeQuery("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")) {
            rows.next();
            if (rows.getBoolean(1) == arguments[3].equals("clear")) {
                System.out.println("failed ssl is " + rows.getBoolean(1));
            } else {
                System.out.println("ok SCRAM-SHA-256");
            }
        } catch (SQLException error) {
            System.out.println(error.getSQLState() != null ? error.getSQLState() : "failed " + error.getMessage());
        }
    }
}

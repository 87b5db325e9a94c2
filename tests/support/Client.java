import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;

/** java Client.java URL COUNT [body on standard input]: as client.mjs, with the defaults of java.net.http (HTTP/2, so h2c). */
public class Client {
    public static void main(String[] arguments) throws Exception {
        byte[] body = System.in.readAllBytes();
        HttpClient client = HttpClient.newHttpClient();
        HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(arguments[0]))
                .header("Content-Type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofByteArray(body));
        String authorization = System.getenv("AUTHORIZATION");
        if (authorization != null) {
            request.header("Authorization", authorization);
        }
        for (int number = 0; number < Integer.parseInt(arguments[1]); number++) {
            try {
                HttpResponse<String> response = client.send(request.build(), HttpResponse.BodyHandlers.ofString());
                System.out.println(response.statusCode() + " " + response.body());
            } catch (java.io.IOException error) {
                System.out.println(error);
            }
        }
    }
}
